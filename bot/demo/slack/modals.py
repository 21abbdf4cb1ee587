"""The modals on people's screens: filled in, sent, closed; their menus ask the app while somebody types."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bot.demo.slack import payloads
from bot.demo.slack.block_rules import check_options
from bot.demo.slack.delivery import Courier
from bot.demo.slack.web_api import WebApi
from bot.demo.slack.workspace import Json, LocalView, Refused, Workspace


@dataclass(frozen=True, slots=True)
class SubmitAnswer:
    """What happened to a submitted modal. ``errors`` are by block id; they are also kept on the view."""

    status: int
    seconds: float
    errors: Mapping[str, str]
    failure: str = ""

    @property
    def ok(self) -> bool:
        return not self.errors and not self.failure


class Modals:
    """The part of ``LocalSlack`` that has to do with modals."""

    space: Workspace
    api: WebApi
    courier: Courier

    async def submit(self, user: str, view_id: str, values: Mapping[str, str]) -> SubmitAnswer:
        """Submits a modal. ``values`` are by label, action id or block id; what is left out keeps its initial value.

        Required fields that are empty are refused by the client, as in Slack: the bot does not hear of it.
        """
        view = self._open_view(user, view_id)
        given = await self._chosen_names(user, view, dict(values))
        state, view.errors = payloads.entered_state(view.view, given)
        if view.errors:
            self.space.changed({"type": "views", "user": user})
            return SubmitAnswer(0, 0.0, dict(view.errors))
        trigger_id = self.space.new_trigger(user)
        body = payloads.view_submission_form(self.space, user=user, view=view, state=state, trigger_id=trigger_id)
        delivery = await self.courier.deliver("view_submission", body, payloads.FORM)
        failure = delivery.failure
        if not failure:
            try:
                self._answered(user, view, delivery.json() or {})
            except Refused as refused:
                failure = str(refused)
        if failure:
            view.errors[""] = f"We had some trouble connecting. Try again? ({failure})"
        self.space.changed({"type": "views", "user": user})
        return SubmitAnswer(delivery.status, delivery.seconds, dict(view.errors), failure)

    async def suggest(self, user: str, view_id: str, block_id: str, typed: str = "") -> list[Json]:
        """The options that the app offers for what was typed into a menu, as the client shows them.

        Raises ``Refused`` for an answer that Slack would not take,
        and ``LookupError`` for a field that is no such menu.
        """
        view = self._open_view(user, view_id)
        block = next((one for one in view.view["blocks"] if one.get("block_id") == block_id), None)
        if block is None or block.get("element", {}).get("type") != "external_select":
            raise LookupError(f"the modal has no menu {block_id!r} that asks the app")
        state, _ = payloads.entered_state(view.view, {})
        body = payloads.block_suggestion_form(self.space, user=user, view=view, block=block, typed=typed, state=state)
        delivery = await self.courier.deliver("block_suggestion", body, payloads.FORM)
        if not delivery.ok:
            raise Refused("options_could_not_be_loaded", delivery.failure)
        options = (delivery.json() or {}).get("options", [])
        if problems := check_options(options):
            raise Refused("invalid_options", *problems)
        return list(options)

    async def _chosen_names(self, user: str, view: LocalView, values: dict[str, Any]) -> dict[str, Any]:
        """What is given for a menu that asks the app is chosen out of what the app offers for it."""
        for block in view.view["blocks"]:
            if block["type"] != "input" or block["element"]["type"] != "external_select":
                continue
            names = (block["block_id"], block["element"]["action_id"], block["label"]["text"])
            name = next((each for each in names if each in values), None)
            if name is None or not values[name]:
                continue
            initial = block["element"].get("initial_option")
            if initial and values[name] == initial["value"]:
                values[name] = initial
                continue
            offered = await self.suggest(user, view.id, block["block_id"], str(values[name]))
            found = [one for one in offered if values[name] in (one["value"], one["text"]["text"])]
            if not found:
                shown = [one["text"]["text"] for one in offered]
                raise LookupError(f"{block['label']['text']!r} does not offer {values[name]!r}, only {shown}")
            values[name] = found[0]
        return values

    def _answered(self, user: str, view: LocalView, answer: Json) -> None:
        stack = self.space.views.get(user, [])
        action = answer.get("response_action")
        if action == "errors":  # also for a form that another one has replaced meanwhile: it was not taken
            known = {block["block_id"] for block in view.view["blocks"] if block["type"] == "input"}
            errors = answer.get("errors")
            if not isinstance(errors, dict) or not errors or not errors.keys() <= known:
                raise Refused("invalid_errors", f"[ERROR] errors must be by block_id of an input: {sorted(known)}")
            view.errors = {name: str(text) for name, text in errors.items()}
        elif action is None or view not in stack:
            if view in stack:
                stack.remove(view)
        elif action == "clear":
            stack.clear()
        elif action == "update" and isinstance(answer.get("view"), dict):
            stack[stack.index(view)] = self.api.methods.replaced(view, answer["view"])
        elif action == "push" and isinstance(answer.get("view"), dict):
            stack.append(self.api.methods.new_view(user, answer["view"], below=view))
        else:
            raise Refused("invalid_response_action", f"[ERROR] {action!r} is not understood, or lacks its view")

    async def close_view(self, user: str, view_id: str) -> None:
        """Cancels a modal; the bot hears of it when the view asks for it (``notify_on_close``)."""
        view = self._open_view(user, view_id)
        self.space.views[user].remove(view)
        self.space.changed({"type": "views", "user": user})
        if view.view.get("notify_on_close"):
            body = payloads.view_closed_form(self.space, user=user, view=view, cleared=False)
            await self.courier.deliver("view_closed", body, payloads.FORM)

    def _open_view(self, user: str, view_id: str) -> LocalView:
        for view in self.space.views.get(user, []):
            if view.id == view_id:
                return view
        raise LookupError(f"{user} has no open modal {view_id}")
