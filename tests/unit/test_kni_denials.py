"""What is denied is asked about until its very turn comes, and said to a person once."""

from __future__ import annotations

import logging

import pytest

from kroute.plan.kni_gc import Cause
from kroute.plan.kni_holdings import of_attachment
from support.kni_world import GRACE, Collector


@pytest.mark.parametrize("cause", [Cause.POD, Cause.SANDBOX])
@pytest.mark.parametrize("meanwhile", ["nothing", "silent", "listed"])
def test_what_another_look_has_seen_listed_or_could_not_ask_about_is_denied_no_more(
    cause, meanwhile
):
    collector = Collector(asks_runtime=True)
    world, (_, _, _, attachment, _) = collector.world, collector.attached
    for step in ("delete", "remove"):
        collector.do(step, 3)
    collector.look()
    assert collector.forgotten.denies(of_attachment(attachment), cause)
    if meanwhile == "listed":
        world.boxes.add(3)
    collector.do(meanwhile, 0)
    collector.look()
    assert collector.forgotten.denies(of_attachment(attachment), cause) is (meanwhile == "nothing")


def test_a_pod_that_comes_to_be_known_is_denied_no_more():
    collector = Collector()
    attachment = collector.attached[3]
    collector.do("delete", 3)
    assert collector.forgotten.denies(of_attachment(attachment), Cause.POD)
    collector.do("away", 0)
    assert not collector.forgotten.denies(of_attachment(attachment), Cause.POD)
    collector.do("back", 0)
    collector.do("create", 3)
    assert not collector.forgotten.denies(of_attachment(attachment), Cause.POD)


def test_who_does_not_answer_is_named_and_why():
    collector = Collector(asks_runtime=True)
    collector.look()
    assert collector.forgotten.failures() == {}
    collector.do("silent", 0)
    collector.do("away", 0)
    collector.look()
    said = {Cause.POD: "503 away", Cause.SANDBOX: "did not answer"}
    assert collector.forgotten.failures() == said


def test_what_is_found_is_logged_once(caplog):
    collector = Collector(asks_runtime=True)
    collector.look()
    with caplog.at_level(logging.WARNING):
        for step in ("remove", "delete"):
            collector.do(step, 3)
            for _ in range(3):
                collector.do("look", 1)
                collector.look()
    assert [r.message.count("c3") for r in caplog.records] == [1]


def test_what_was_listed_is_written_where_it_has_changed():
    collector = Collector(asks_runtime=True)
    written = []
    collector.runtime.save = written.append
    for _ in range(2):
        collector.look()
    assert [len(listed.keys) for listed in written] == [4]
    collector.do("remove", 3)
    collector.do("delete", 3)
    collector.look()
    collector.do("look", int(GRACE))
    assert collector.look() == [3]
    collector.look()
    assert [len(listed.keys) for listed in written] == [4, 3]
