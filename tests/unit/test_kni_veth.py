"""Requests for links as one datagram."""

from kroute.codec.kni import veth
from kroute.codec.rtnetlink import HEADER, NLM_F_ACK


def test_of_a_burst_only_the_last_request_is_acknowledged_and_known_again_by_its_number():
    requests = [veth.up(1), veth.set_group("a", 7), veth.delete("a")]
    sent, position, seen = veth.burst(requests), 0, []
    for request in requests:
        length, kind, flags, _, _ = HEADER.unpack_from(sent, position)
        assert (length, kind) == HEADER.unpack_from(request)[:2]
        assert sent[position + 16 : position + length] == request[16:]
        seen.append((bool(flags & NLM_F_ACK), veth.is_last(sent[position : position + 16])))
        position += len(request)
    assert seen == [(False, False), (False, False), (True, True)]
    assert position == len(sent)
