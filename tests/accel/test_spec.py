"""Is a kind found by its file's name alone, and chosen by it in files?"""

import subprocess
import sys

import pytest
from pydantic import TypeAdapter, ValidationError

from accel.base.spec import Spec, chosen_by_kind, discover, lookup
from accel.base.unit import RtlUnit, Unit


def test_units_are_found_by_file_name():
    units = discover("accel", Unit)
    assert {"lut_tensor_core", "table_precompute", "gpu_tensor_core"} <= set(units)
    assert all(unit.kind() == kind for kind, unit in units.items())
    assert all(unit.summary() for unit in units.values())


def test_a_subclass_elsewhere_is_not_discovered():
    class Mutant(discover("accel", RtlUnit)["table_precompute"]):
        pass

    assert Mutant not in discover("accel", Unit).values()


def test_discovery_imports_no_hdl():
    heavy = {"amaranth", "torch", "cocotb"}
    script = f"import sys; from accel.base.spec import discover; discover('accel'); print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stderr


def test_lookup_suggests_the_nearest_name():
    with pytest.raises(ValueError, match=r"unknown unit 'lut_tensor_cor'; did you mean 'lut_tensor_core'\?"):
        lookup("lut_tensor_cor", discover("accel", Unit), "unit")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"kind": "table_precomput"}, "did you mean 'table_precompute'"),
        ({"rows": 2}, "wanted the key 'kind'"),
        (7, "wanted a table with the key 'kind'"),
        ({"kind": "table_precompute", "rows": 99}, "less than or equal to 8"),
    ],
)
def test_a_wrong_choice_says_what_is_wanted(data, message):
    with pytest.raises(ValidationError, match=message):
        TypeAdapter(chosen_by_kind(Unit, "unit", "accel")).validate_python(data)


def test_the_key_kind_chooses_the_class():
    chosen = TypeAdapter(chosen_by_kind(Unit, "unit", "accel")).validate_python({"kind": "table_precompute", "rows": 3})
    assert (chosen.kind(), chosen.rows) == ("table_precompute", 3)


def test_specs_are_frozen_and_refuse_extra_keys():
    class Sample(Spec):
        x: int = 1

    with pytest.raises(ValidationError):
        Sample(y=2)
    with pytest.raises(ValidationError):
        Sample().x = 3
    with pytest.raises(ValidationError):
        Sample(x="1")
