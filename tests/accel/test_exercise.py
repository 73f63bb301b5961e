"""Is hardware that is no unit offered its words as a producer would, and priced by what left it?"""

import tomllib
from collections import Counter

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from accel.base.activity import record_traffic
from accel.base.characterize import characterize
from accel.base.exercise import Exercised, Traffic
from accel.base.figures import write_entries
from accel.base.tech import Tech


class EveryThird(wiring.Component):
    """Takes a word in every third cycle and shows the sum of what it took."""

    def __init__(self):
        super().__init__({"words": In(stream.Signature(8)), "taken": Out(1).array(2), "sum": Out(16)})

    def elaborate(self, platform):
        m = Module()
        wait = Signal(2)
        m.d.comb += [self.words.ready.eq(wait == 2), self.taken[1].eq(self.words.valid & self.words.ready)]
        m.d.sync += wait.eq(wait + 1)
        with m.If(wait == 2):
            m.d.sync += wait.eq(0)
        with m.If(self.taken[1]):
            m.d.sync += self.sum.eq(self.sum + self.words.payload)
        return m


class Adding(Exercised):
    """It, with random words."""

    fast: bool = True
    drawn = "random words"

    def component(self):
        return EveryThird()

    def traffic(self, rng):
        found = [Traffic({"words": ()}, 60)]
        for n in range(14):
            words = [(i * (1 + n % 5), int(word)) for i, word in enumerate(rng.integers(0, 256, 40))]
            found.append(Traffic({"words": words}, 60 + n))
        return found

    def events(self, outputs):
        return Counter(word=sum(cycle["taken__1"] for cycle in outputs))


def test_a_word_is_offered_from_its_cycle_on_and_stays_until_it_is_taken():
    [seen] = record_traffic(Adding(), [Traffic({"words": [(0, 7), (1, 9), (11, 200)]}, 20)], lambda line: None)
    taken = [cycle for cycle, outputs in enumerate(seen.outputs) if outputs["taken__1"]]
    assert taken == [2, 5, 11]
    assert [i["words__payload"] for i in seen.inputs] == [7] * 3 + [9] * 8 + [200] * 9
    assert [i["words__valid"] for i in seen.inputs] == [1] * 6 + [0] * 5 + [1] + [0] * 8
    assert [seen.outputs[cycle]["sum"] for cycle in (2, 3, 6, 19)] == [0, 7, 16, 216]
    assert seen.outputs[0]["taken__0"] == 0


def test_its_figures_are_those_of_a_unit(liberty, opensta, tmp_path):
    found = characterize(Adding(), liberty)
    assert (found.component, found.parameters, found.statistics) == ("test_exercise", {"fast": True}, "random words")
    assert found.fit.joules["word"] > found.fit.joules["cycle"] > 0
    assert found.fit.held_out < 0.1
    assert found.checked_cycles == 15 * 60 + sum(range(14))
    write_entries(tmp_path / "a.toml", [found])
    entries = Tech.from_data(tomllib.loads((tmp_path / "a.toml").read_text())).entry
    assert {e.event for e in entries if e.matches("test_exercise", {"fast": True})} == {None, "cycle", "word"}
