"""``chat.postMessage``, ``views.open`` and the others: what each method of the Web API does to the workspace.

One page for each at https://docs.slack.dev/reference/methods. A method takes its arguments as they came (text from a
form, values from JSON) and returns the answer without ``ok``; it raises ``Refused`` with the error that Slack names.
Which arguments and scopes each has stands in ``method_table``.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from typing import Any

from bot.demo.slack import block_rules
from bot.demo.slack.content import Content, json_argument, read_content
from bot.demo.slack.payloads import api_message, api_view
from bot.demo.slack.workspace import (
    Channel,
    Json,
    LocalMessage,
    LocalView,
    Person,
    Refused,
    StoredFile,
    Workspace,
)


def flag(value: object, default: bool = False) -> bool:
    """A boolean argument, from JSON or from a form."""
    return default if value is None else value in (True, 1, "true", "True", "1")


class Methods:
    """The methods over one workspace. ``base_url`` is where uploads and permalinks point to."""

    def __init__(self, space: Workspace, base_url: Callable[[], str]) -> None:
        self.space = space
        self.base_url = base_url
        self.file_delay = 0.0  # seconds for which an uploaded picture is still being processed
        self.upload_keys: dict[str, str] = {}  # file id -> the secret part of its upload URL

    # -- looking things up ---------------------------------------------------------------------------------------------

    def channel(self, arguments: Json, *, write: bool = False, member: bool = True) -> Channel:
        """The channel that is meant; with ``write`` it must not be archived, with ``member`` the bot must be in it."""
        name = str(arguments.get("channel") or arguments.get("channel_id"))
        if name in self.space.people and write and name not in self.space.channels:
            return self.space.direct_channel(name)
        channel = self.space.channels.get(name)
        if channel is None:
            raise Refused("channel_not_found")
        if write and channel.archived:
            raise Refused("is_archived")
        if member and self.space.bot_user_id not in channel.members:
            raise Refused("not_in_channel")
        return channel

    def message(self, arguments: Json, *, timestamp: str = "ts") -> LocalMessage:
        channel = self.channel(arguments)
        found = self.space.posted[channel.id].get(str(arguments.get(timestamp)))
        if found is None:
            raise Refused("message_not_found")
        return found

    def thread_of(self, channel: Channel, arguments: Json) -> str | None:
        thread_ts = arguments.get("thread_ts")
        if thread_ts is None:
            return None
        root = self.space.posted[channel.id].get(str(thread_ts))
        if root is None or root.in_thread:
            raise Refused("thread_not_found", "[ERROR] thread_ts must be the ts of a message that starts a thread")
        return root.ts

    def new_message(self, channel: str) -> LocalMessage:
        space = self.space
        return LocalMessage(channel, space.new_ts(), space.bot_user_id, "", space.names, app_id=space.app_id)

    # -- auth, people, channels ----------------------------------------------------------------------------------------

    def auth_test(self, _: Json) -> Json:
        space = self.space
        return {
            "url": f"{self.base_url()}/",
            "team": "opsbot demo",
            "user": space.people[space.bot_user_id].name,
            "team_id": space.team_id,
            "user_id": space.bot_user_id,
            "bot_id": space.bot_id,
            "is_enterprise_install": False,
        }

    def _described(self, channel: Channel) -> Json:
        return {
            "id": channel.id,
            "name": channel.name,
            "is_channel": not channel.is_im,
            "is_im": channel.is_im,
            "is_private": channel.is_im,
            "is_archived": channel.archived,
            "is_member": self.space.bot_user_id in channel.members,
            "context_team_id": self.space.team_id,
        }

    def conversations_info(self, arguments: Json) -> Json:
        channel = self.channel(arguments, member=False)
        extra = {"num_members": len(channel.members)} if flag(arguments.get("include_num_members")) else {}
        return {"channel": self._described(channel) | extra}

    def conversations_list(self, arguments: Json) -> Json:
        kept = [one for one in self.space.channels.values() if not one.is_im]
        if flag(arguments.get("exclude_archived")):
            kept = [one for one in kept if not one.archived]
        part, after = _paged(kept, arguments)
        return {"channels": [self._described(one) for one in part], **after}

    def conversations_members(self, arguments: Json) -> Json:
        part, after = _paged(self.channel(arguments, member=False).members, arguments)
        return {"members": part, **after}

    def conversations_join(self, arguments: Json) -> Json:
        channel = self.channel(arguments, write=True, member=False)
        if channel.is_im:
            raise Refused("method_not_supported_for_channel_type")
        if self.space.bot_user_id in channel.members:
            return {"channel": self._described(channel), "warning": "already_in_channel"}
        channel.members.append(self.space.bot_user_id)
        self.space.changed({"type": "reload"})
        return {"channel": self._described(channel)}

    def conversations_open(self, arguments: Json) -> Json:
        users = str(arguments["users"]).split(",")
        if len(users) != 1 or users[0] not in self.space.people:
            raise Refused("user_not_found")
        return {"channel": self._described(self.space.direct_channel(users[0]))}

    def conversations_history(self, arguments: Json) -> Json:
        channel = self.channel(arguments)
        found = [one for one in self.space.posted[channel.id].values() if not one.in_thread or one.broadcast]
        part, after = _paged(_between(found, arguments)[::-1], arguments)
        return self._listed(part, arguments) | after

    def conversations_replies(self, arguments: Json) -> Json:
        channel = self.channel(arguments)
        asked = self.space.posted[channel.id].get(str(arguments["ts"]))
        if asked is None:
            raise Refused("thread_not_found")
        root, *replies = self.space.thread(channel.id, asked.thread_ts or asked.ts)
        part, after = _paged([root, *_between(replies, arguments)], arguments)
        return self._listed(part, arguments) | after

    def _listed(self, messages: list[LocalMessage], arguments: Json) -> Json:
        metadata = flag(arguments.get("include_all_metadata"))
        return {"messages": [api_message(self.space, one, metadata=metadata) for one in messages]}

    def users_info(self, arguments: Json) -> Json:
        person = self.space.people.get(str(arguments["user"]))
        if person is None:
            raise Refused("user_not_found")
        return {"user": self._person(person)}

    def users_list(self, arguments: Json) -> Json:
        part, after = _paged(list(self.space.people.values()), arguments)
        return {"members": [self._person(one) for one in part], **after}

    def _person(self, person: Person) -> Json:
        return {
            "id": person.id,
            "team_id": self.space.team_id,
            "name": person.name,
            "real_name": person.real_name,
            "deleted": False,
            "is_bot": person.is_bot,
            "tz": "Etc/UTC",
            "tz_offset": 0,
            "profile": {"display_name": person.name, "real_name": person.real_name},
        }

    def usergroups_list(self, arguments: Json) -> Json:
        users = flag(arguments.get("include_users"))
        return {
            "usergroups": [
                {"id": group.id, "team_id": self.space.team_id, "handle": group.handle, "name": group.handle}
                | ({"users": group.members} if users else {})
                for group in self.space.groups.values()
            ]
        }

    def usergroups_users_list(self, arguments: Json) -> Json:
        group = self.space.groups.get(str(arguments["usergroup"]))
        if group is None:
            raise Refused("no_such_subteam")
        return {"users": list(group.members)}

    # -- messages ------------------------------------------------------------------------------------------------------

    def _content(self, arguments: Json, *, text_limit: int = block_rules.MESSAGE_TEXT) -> Content:
        """The content of a message, whose pictures are uploaded, and were long enough ago to be known by now."""
        content = read_content(arguments, text_limit=text_limit)
        inner = [block for one in content.attachments or [] for block in one.get("blocks", [])]
        for block in [*(content.blocks or []), *inner]:
            name = (block.get("slack_file") or {}).get("id") if block["type"] == "image" else None
            if name is None:
                continue
            file = self.space.files.get(name)
            if file is None or file.completed_at is None or self.space.now() < file.completed_at + self.file_delay:
                raise Refused("invalid_blocks", "[ERROR] invalid slack file [json-pointer:/blocks]")
        return content

    def chat_post_message(self, arguments: Json) -> Json:
        channel = self.channel(arguments, write=True)
        content = self._content(arguments)
        thread_ts = self.thread_of(channel, arguments)
        message = self.new_message(channel.id)
        content.put_into(message)
        message.thread_ts = thread_ts
        message.broadcast = flag(arguments.get("reply_broadcast")) and thread_ts is not None
        message.files = self._linked_files(arguments)
        self.space.post(message)
        return {
            "channel": channel.id,
            "ts": message.ts,
            "message": api_message(self.space, message, metadata=True),
        }

    def chat_post_ephemeral(self, arguments: Json) -> Json:
        channel = self.channel(arguments, write=True)
        user = str(arguments["user"])
        if user not in channel.members:
            raise Refused("user_not_in_channel")
        content = read_content(arguments)
        thread_ts = self.thread_of(channel, arguments)
        message = self.new_message(channel.id)
        content.put_into(message)
        message.thread_ts, message.only_for = thread_ts, user
        self.space.post(message)
        return {"message_ts": message.ts}

    def chat_update(self, arguments: Json) -> Json:
        self.channel(arguments, write=True)
        message = self.message(arguments)
        if message.user != self.space.bot_user_id:
            raise Refused("cant_update_message")
        content = self._content(arguments, text_limit=block_rules.UPDATE_TEXT)
        content.replace_in(message)
        message.updates += 1
        if content.blocks is None:
            message.edited_ts = self.space.new_ts()  # Slack shows "(edited)" for text, not for blocks
        self.space.touched(message)
        return {
            "channel": message.channel,
            "ts": message.ts,
            "text": message.text,
            "message": api_message(self.space, message, metadata=True),
        }

    def chat_delete(self, arguments: Json) -> Json:
        message = self.message(arguments)
        if message.user != self.space.bot_user_id:
            raise Refused("cant_delete_message")
        self.space.remove(message)
        return {"channel": message.channel, "ts": message.ts}

    def chat_get_permalink(self, arguments: Json) -> Json:
        message = self.message(arguments, timestamp="message_ts")
        link = f"{self.base_url()}/archives/{message.channel}/p{message.ts.replace('.', '')}"
        if message.in_thread:
            link += f"?thread_ts={message.thread_ts}&cid={message.channel}"
        return {"channel": message.channel, "permalink": link}

    def reactions_add(self, arguments: Json) -> Json:
        message = self.message(arguments, timestamp="timestamp")
        users = message.reactions.setdefault(_emoji(arguments), [])
        if self.space.bot_user_id in users:
            raise Refused("already_reacted")
        users.append(self.space.bot_user_id)
        self.space.touched(message)
        return {}

    def reactions_remove(self, arguments: Json) -> Json:
        message = self.message(arguments, timestamp="timestamp")
        name = _emoji(arguments)
        if self.space.bot_user_id not in message.reactions.get(name, []):
            raise Refused("no_reaction")
        message.reactions[name].remove(self.space.bot_user_id)
        if not message.reactions[name]:
            del message.reactions[name]
        self.space.touched(message)
        return {}

    # -- views ---------------------------------------------------------------------------------------------------------

    def new_view(self, user: str, view: Json, *, below: LocalView | None = None) -> LocalView:
        """A checked view, not yet on anybody's screen."""
        if problems := block_rules.check_view(view):
            raise Refused("invalid_arguments", *problems)
        if len(view.get("private_metadata", "")) + block_rules.text_total(view) > 250_000:
            raise Refused("view_too_large")
        for block in view["blocks"]:
            block.setdefault("block_id", secrets.token_urlsafe(4))
        view_id = self.space.new_id("V")
        return LocalView(
            id=view_id,
            user=user,
            view=view,
            hash=f"{self.space.new_ts()}.{secrets.token_hex(4)}",
            root_id=below.root_id if below else view_id,
            previous_id=below.id if below else None,
            names=self.space.names,
        )

    def _view_argument(self, arguments: Json, kind: str) -> Json:
        view = json_argument(arguments, "view", dict, "invalid_arguments")
        if view is None or view.get("type") != kind:
            raise Refused("invalid_arguments", f"[ERROR] view must be of type {kind} here")
        return dict(view)

    def views_open(self, arguments: Json) -> Json:
        view = self._view_argument(arguments, "modal")
        user = self.space.use_trigger(str(arguments["trigger_id"]))
        opened = self.new_view(user, view)
        self.space.views[user] = [opened]
        self.space.changed({"type": "views", "user": user})
        return {"view": api_view(self.space, opened)}

    def views_push(self, arguments: Json) -> Json:
        view = self._view_argument(arguments, "modal")
        user = self.space.use_trigger(str(arguments["trigger_id"]))
        stack = self.space.views.get(user) or []
        if not stack:
            raise Refused("not_found", "[ERROR] there is no open modal to push onto")
        if len(stack) >= 3:
            raise Refused("push_limit_reached")
        stack.append(self.new_view(user, view, below=stack[-1]))
        self.space.changed({"type": "views", "user": user})
        return {"view": api_view(self.space, stack[-1])}

    def views_update(self, arguments: Json) -> Json:
        view = self._view_argument(arguments, "modal")
        wanted, external = arguments.get("view_id"), arguments.get("external_id")
        for user, stack in self.space.views.items():
            for place, old in enumerate(stack):
                if wanted == old.id or (external and external == old.view.get("external_id")):
                    if arguments.get("hash") not in (None, old.hash):
                        raise Refused("hash_conflict")
                    stack[place] = self.replaced(old, view)
                    self.space.changed({"type": "views", "user": user})
                    return {"view": api_view(self.space, stack[place])}
        raise Refused("not_found")

    def replaced(self, old: LocalView, view: Json) -> LocalView:
        """The same view with other content."""
        fresh = self.new_view(old.user, view)
        fresh.id, fresh.root_id, fresh.previous_id = old.id, old.root_id, old.previous_id
        return fresh

    def views_publish(self, arguments: Json) -> Json:
        view = self._view_argument(arguments, "home")
        user = str(arguments["user_id"])
        if user not in self.space.people:
            raise Refused("user_not_found")
        old = self.space.homes.get(user)
        if old is not None and arguments.get("hash") not in (None, old.hash):
            raise Refused("hash_conflict")
        self.space.homes[user] = self.replaced(old, view) if old else self.new_view(user, view)
        self.space.changed({"type": "home", "user": user})
        return {"view": api_view(self.space, self.space.homes[user])}

    # -- files ---------------------------------------------------------------------------------------------------------

    def files_get_upload_url(self, arguments: Json) -> Json:
        try:
            length = int(arguments["length"])
        except (TypeError, ValueError):
            raise Refused("invalid_arguments", "[ERROR] length must be a number of bytes") from None
        if length < 1:
            raise Refused("invalid_arguments", "[ERROR] length must be at least 1")
        file = StoredFile(self.space.new_id("F"), str(arguments["filename"]), length)
        self.space.files[file.id] = file
        self.upload_keys[file.id] = secrets.token_urlsafe(12)
        return {"upload_url": f"{self.base_url()}/upload/{file.id}/{self.upload_keys[file.id]}", "file_id": file.id}

    def files_complete_upload(self, arguments: Json) -> Json:
        wanted = json_argument(arguments, "files", list, "invalid_arguments")
        files = [self.space.files.get(str(one.get("id"))) for one in wanted if isinstance(one, dict)]
        stored = [file for file in files if file is not None and file.content is not None and file.completed_at is None]
        if not stored or len(stored) != len(wanted):
            raise Refused("file_not_found", "[ERROR] upload each file to its upload_url first, and complete it once")
        channel = self.channel(arguments, write=True) if arguments.get("channel_id") else None
        thread_ts = self.thread_of(channel, arguments) if channel else None
        comment = arguments.get("initial_comment") or ""
        if comment:
            read_content({"text": comment})
        for file, one in zip(stored, wanted, strict=True):
            file.title, file.completed_at = str(one.get("title") or file.name), self.space.now()
        written = [self._file(file) for file in stored]
        if channel is not None:
            message = self.new_message(channel.id)
            message.text, message.files, message.thread_ts = str(comment), written, thread_ts
            self.space.post(message)
        return {"files": written}

    def _file(self, file: StoredFile) -> Json:
        address = f"{self.base_url()}/files/{file.id}"
        known = {"id": file.id, "name": file.name, "title": file.title, "size": file.length}
        return {**known, "url_private": address, "permalink": address}

    def _linked_files(self, arguments: Json) -> list[Json]:
        """The bot's own files whose address stands in its message: those are shared with the channel by it."""
        if flag(arguments.get("unfurl_links", True)) is False:
            return []
        said = "".join(str(arguments.get(part) or "") for part in ("text", "blocks", "attachments"))
        linked = dict.fromkeys(re.findall(rf"{re.escape(self.base_url())}/files/(F\w+)", said))
        found = [self.space.files.get(each) for each in linked]
        return [self._file(file) for file in found if file is not None and file.completed_at is not None]


def _emoji(arguments: Json) -> str:
    name = str(arguments["name"]).strip(":")
    if not name or not all(one.isalnum() or one in "_+-" for one in name) or name != name.lower():
        raise Refused("invalid_name")
    return name


def _between(messages: list[LocalMessage], arguments: Json) -> list[LocalMessage]:
    oldest, latest = str(arguments.get("oldest") or "0"), str(arguments.get("latest") or "9" * 20)
    inclusive = flag(arguments.get("inclusive"))
    try:
        low, high = float(oldest), float(latest)
    except ValueError:
        raise Refused("invalid_ts_oldest") from None
    return [one for one in messages if low < float(one.ts) < high or (inclusive and one.ts in (oldest, latest))]


def _paged(items: list[Any], arguments: Json) -> tuple[list[Any], Json]:
    try:
        limit = min(int(arguments.get("limit") or 100), 1000)
        start = int(str(arguments.get("cursor") or "next:0").removeprefix("next:"))
    except ValueError:
        raise Refused("invalid_cursor") from None
    more = start + limit < len(items)
    after = {"has_more": more, "response_metadata": {"next_cursor": f"next:{start + limit}" if more else ""}}
    return items[start : start + limit], after
