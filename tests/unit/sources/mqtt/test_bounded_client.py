"""The private names of paho that this project uses: a new version of paho may change any of them."""

from __future__ import annotations

import ast
import inspect
import re

import pytest
from paho.mqtt.client import Client, _WebsocketWrapper
from paho.mqtt.enums import CallbackAPIVersion

from connector.sources.mqtt import bounded_client
from connector.sources.mqtt.bounded_client import BoundedClient

_ALONE = (
    *("_create_socket", "_create_socket_connection", "_packet_handle", "_send_pingreq", "_handle_publish"),
    *("_handle_connack", "_handle_suback", "_handle_unsuback", "_handle_pingresp", "_handle_pubrel"),
)
PARAMETERS = {name: ["self"] for name in _ALONE} | {
    "_sock_recv": ["self", "bufsize"],
    "_sock_send": ["self", "buf"],
    "_packet_queue": ["self", "command", "packet", "mid", "qos", "info"],
    "_send_pubcomp": ["self", "mid"],
}
IN_PACKET = {"command", "have_remaining", "remaining_count", "remaining_length", "packet", "to_process"}


def used_names() -> set[str]:
    """The private names `self._x` and `super()._x` in the file that are not ours."""
    tree = ast.parse(inspect.getsource(bounded_client))
    attributes = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    init = next(node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == "__init__")
    ours = {node.attr for node in ast.walk(init) if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)}
    ours |= {name for name in vars(BoundedClient) if not hasattr(Client, name)} | {"_replace"}  # of a named tuple
    return {node.attr for node in attributes if node.attr.startswith("_") and not node.attr.startswith("__")} - ours


def test_paho_has_every_private_name_that_is_used() -> None:
    used, source = used_names(), inspect.getsource(Client)
    assert used >= {"_in_packet", "_packet_queue", "_sock_recv", "_last_bytes_received"}, (
        "the test looks at the right names"
    )
    assert [name for name in used if not re.search(rf"\b(self\.|def ){name}\b", source)] == []


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_method_of_paho_takes_what_it_took(name: str) -> None:
    assert list(inspect.signature(getattr(Client, name)).parameters) == PARAMETERS[name]


def test_paho_keeps_the_present_packet_as_it_did() -> None:
    assert set(Client(CallbackAPIVersion.VERSION2)._in_packet) >= IN_PACKET


def test_the_handshake_of_a_websocket_is_a_method_of_its_own() -> None:
    assert list(inspect.signature(_WebsocketWrapper._do_handshake).parameters) == ["self", "extra_headers"]
