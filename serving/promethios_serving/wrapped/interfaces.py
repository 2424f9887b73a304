"""The governed routes of wrapped mode, and the interface of each."""

from __future__ import annotations

from typing import Final

from promethios_serving.route_allowlist import CHAT_ROUTE, RESPONSES_ROUTE
from promethios_serving.wrapped.chat_completions import ChatCompletions
from promethios_serving.wrapped.interface import Interface
from promethios_serving.wrapped.responses import Responses

INTERFACES: Final[dict[str, Interface]] = {CHAT_ROUTE: ChatCompletions(), RESPONSES_ROUTE: Responses()}
