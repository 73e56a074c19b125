"""gRPC's health and reflection services: Google's protobuf reads what we answer and finds described what we list."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from kroute.codec.kni import standard
from kroute.codec.kni.methods import METHODS

R = "grpc.reflection.v1"


@pytest.fixture
def pool() -> descriptor_pool.DescriptorPool:
    """What a client learns: it asks for the file of each service that is listed, and for nothing else."""
    made = descriptor_pool.DescriptorPool()
    for data in {found for service in listed() for found in described(service)}:
        made.Add(descriptor_pb2.FileDescriptorProto.FromString(data))
    return made


def listed() -> list[str]:
    """The services, cut out of the answer by its field numbers: what they mean is tested below."""
    return [name.decode() for _, name in fields(fields(answer(b"\x3a\x00"))[-1][1], 1)]


def described(symbol: str) -> list[bytes]:
    name = symbol.encode()
    response = answer(bytes((0x22, len(name))) + name)
    return [data for _, inner in fields(response)[-1:] for _, data in fields(inner)]


def answer(request: bytes) -> bytes:
    return standard.reflect(request)


def fields(data: bytes, deeper: int = 0) -> list[tuple[int, Any]]:
    found = [(number, raw) for number, _, raw in standard.walk(data)]
    return [pair for _, raw in found for pair in fields(raw, deeper - 1)] if deeper else found


def of(pool: descriptor_pool.DescriptorPool, name: str) -> Any:
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(name))


def test_whoever_asks_for_the_services_learns_the_methods_of_each(pool):
    methods = {name: {*pool.FindServiceByName(name).methods_by_name} for name in listed()}
    assert methods == {
        "kni.KNI": set(METHODS),
        "grpc.health.v1.Health": {"Check", "Watch"},
        "grpc.reflection.v1.ServerReflection": {"ServerReflectionInfo"},
    }


@pytest.mark.parametrize(
    "symbol",
    [
        "kni.KNI.AttachInterface",
        "kni.AttachInterfaceRequest",
        "kni.Protocol",
        "kni.QueryPodNetworkResponse.IpconfigsEntry",
        "grpc.health.v1.HealthCheckResponse.ServingStatus",
    ],
)
def test_methods_messages_enums_and_what_is_inside_of_messages_are_found(symbol):
    service = "grpc.health.v1.Health" if symbol.startswith("grpc") else "kni.KNI"
    assert described(symbol) == described(service)


def test_health_is_said_as_its_description_has_it(pool):
    request = of(pool, "grpc.health.v1.HealthCheckRequest")(service="kni.KNI")
    assert standard.health_service(request.SerializeToString()) == "kni.KNI"
    reply = of(pool, "grpc.health.v1.HealthCheckResponse")
    names = reply.DESCRIPTOR.enum_types_by_name["ServingStatus"].values_by_name
    for name in ("SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"):
        number = getattr(standard, name)
        assert names[name].number == number
        assert reply.FromString(standard.health_reply(number)).status == number


def test_reflection_is_said_as_its_description_has_it(pool):
    request, response = (
        of(pool, f"{R}.ServerReflectionRequest"),
        of(pool, f"{R}.ServerReflectionResponse"),
    )

    def ask(**asked: str) -> Any:
        sent = request(**asked)
        got = response.FromString(answer(sent.SerializeToString()))
        assert got.original_request == sent
        return got

    services = ask(list_services="*").list_services_response.service
    assert [service.name for service in services] == listed()
    by_symbol = ask(file_containing_symbol="kni.KNI").file_descriptor_response
    name = descriptor_pb2.FileDescriptorProto.FromString(by_symbol.file_descriptor_proto[0]).name
    assert ask(file_by_filename=name).file_descriptor_response == by_symbol
    for unknown in ({"file_containing_symbol": "kni.No"}, {"file_by_filename": "no.proto"}):
        assert ask(**unknown).error_response.error_code == 5  # NOT_FOUND
    assert ask(all_extension_numbers_of_type="kni.KNI").error_response.error_code == 12
