"""``missing required field: channel``: the Web API methods that the local Slack has, their arguments and scopes.

Stricter than Slack: an argument that is not listed here is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from bot.demo.slack.methods import Methods
from bot.demo.slack.workspace import Json

_CONTENT = ("text", "blocks", "attachments")
_UNFURL = ("unfurl_links", "unfurl_media", "mrkdwn", "parse", "link_names")
_PAGE = ("cursor", "limit")
_BETWEEN = ("oldest", "latest", "inclusive", "include_all_metadata", *_PAGE)


@dataclass(frozen=True, slots=True)
class Method:
    run: Callable[[Methods, Json], Json]
    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    scope: str = ""  # what the token must be allowed to
    json: bool = True  # takes a JSON body too; reading methods take forms only


METHODS: Mapping[str, Method] = {
    "auth.test": Method(Methods.auth_test),
    "chat.postMessage": Method(
        Methods.chat_post_message,
        ("channel",),
        (*_CONTENT, *_UNFURL, "metadata", "thread_ts", "reply_broadcast"),
        "chat:write",
    ),
    "chat.postEphemeral": Method(
        Methods.chat_post_ephemeral, ("channel", "user"), (*_CONTENT, "thread_ts", "parse", "link_names"), "chat:write"
    ),
    "chat.update": Method(
        Methods.chat_update, ("channel", "ts"), (*_CONTENT, "metadata", "parse", "link_names"), "chat:write"
    ),
    "chat.delete": Method(Methods.chat_delete, ("channel", "ts"), (), "chat:write"),
    "chat.getPermalink": Method(Methods.chat_get_permalink, ("channel", "message_ts"), json=False),
    "reactions.add": Method(Methods.reactions_add, ("channel", "name", "timestamp"), (), "reactions:write"),
    "reactions.remove": Method(Methods.reactions_remove, ("channel", "name", "timestamp"), (), "reactions:write"),
    "conversations.info": Method(
        Methods.conversations_info, ("channel",), ("include_num_members", "include_locale"), "channels:read", json=False
    ),
    "conversations.list": Method(
        Methods.conversations_list, (), ("exclude_archived", "types", *_PAGE), "channels:read", json=False
    ),
    "conversations.members": Method(Methods.conversations_members, ("channel",), _PAGE, "channels:read", json=False),
    "conversations.join": Method(Methods.conversations_join, ("channel",), (), "channels:join"),
    "conversations.open": Method(Methods.conversations_open, ("users",), ("return_im",), "im:write"),
    "conversations.history": Method(
        Methods.conversations_history, ("channel",), _BETWEEN, "channels:history", json=False
    ),
    "conversations.replies": Method(
        Methods.conversations_replies, ("channel", "ts"), _BETWEEN, "channels:history", json=False
    ),
    "users.info": Method(Methods.users_info, ("user",), ("include_locale",), "users:read", json=False),
    "users.list": Method(Methods.users_list, (), ("include_locale", *_PAGE), "users:read", json=False),
    "usergroups.list": Method(
        Methods.usergroups_list,
        (),
        ("include_users", "include_count", "include_disabled"),
        "usergroups:read",
        json=False,
    ),
    "usergroups.users.list": Method(
        Methods.usergroups_users_list, ("usergroup",), ("include_disabled",), "usergroups:read", json=False
    ),
    "views.open": Method(Methods.views_open, ("trigger_id", "view")),
    "views.push": Method(Methods.views_push, ("trigger_id", "view")),
    "views.update": Method(Methods.views_update, ("view",), ("view_id", "external_id", "hash")),
    "views.publish": Method(Methods.views_publish, ("user_id", "view"), ("hash",)),
    "files.getUploadURLExternal": Method(
        Methods.files_get_upload_url, ("filename", "length"), ("alt_txt", "snippet_type"), "files:write", json=False
    ),
    "files.completeUploadExternal": Method(
        Methods.files_complete_upload, ("files",), ("channel_id", "thread_ts", "initial_comment"), "files:write"
    ),
}
