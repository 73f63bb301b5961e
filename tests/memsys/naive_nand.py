"""The rules S1 to T7 of `memsys.nand_ops` as they are written, instant by instant: what the compiled engine must equal."""

from __future__ import annotations

from dataclasses import dataclass, field

from accel.base.clock import bytes_to_ps
from memsys.nand_ops.operations import Interval, Kind
from memsys.nand_part import NandPart


@dataclass
class Op:
    number: int
    kind: Kind
    die: int
    plane: int
    block: int
    page: int
    transfer: int
    arrival: int
    start: int = -1
    end: int = -1

    @property
    def its_block(self) -> tuple[int, int, int]:
        return self.die, self.plane, self.block


@dataclass
class Job:
    ops: list[Op]
    from_w: bool
    since: int
    state: str = "loading"
    loaded: int = 0
    left: int | None = None  # of a job resumed
    began: int = -1
    until: int = -1
    suspension: int | str | None = None  # since when it is asked for, or "dropped"

    @property
    def kind(self) -> Kind:
        return self.ops[0].kind


@dataclass
class Die:
    r: list[Op] = field(default_factory=list)
    w: list[Op] = field(default_factory=list)
    job: Job | None = None
    o: list[Op] = field(default_factory=list)
    o_since: int = -1
    p: Job | None = None
    passed: int = 0
    busy: int = 0


@dataclass
class Naive:
    part: NandPart
    ops: list[Op]
    overtakes: int

    def __post_init__(self) -> None:
        part = self.part
        self.dies = [Die() for _ in range(part.dies_per_channel)]
        self.suspend = {Kind.PROGRAM: part.suspend_program_ps, Kind.ERASE: part.suspend_erase_ps}
        if not any(self.suspend.values()):
            self.overtakes = 0
        self.coming = list(self.ops)
        self.carried: tuple[str, int, int] | None = None  # use, die, until
        self.trace: list[Interval] = []
        self.suspensions = 0

    def array_ps(self, op: Op) -> int:
        if op.kind is Kind.ERASE:
            return self.part.erase_ps
        times = self.part.read_ps if op.kind is Kind.READ else self.part.program_ps
        return times[op.page % len(times)]

    def run(self) -> None:
        while instants := self.instants():
            t = min(instants)
            self.ends(t)
            self.arrivals(t)
            for number, die in enumerate(self.dies):
                self.registers(die, t)
                self.next_job(die, t)
                self.ask_to_suspend(die, t)
                assert number < len(self.dies)
            while self.carried is None and self.channel(t):
                pass

    def instants(self) -> list[int]:
        found = [die.job.until for die in self.dies if die.job and die.job.state in ("array", "suspending")]
        return found + [op.arrival for op in self.coming[:1]] + ([self.carried[2]] if self.carried else [])

    def ends(self, t: int) -> None:  # T1, T7
        if self.carried and self.carried[2] == t:
            use, number, _ = self.carried
            self.carried = None
            die = self.dies[number]
            job = die.job
            if use == "out":
                die.o.pop(0).end = t
            elif use == "suspend":
                job.left, job.state, job.until = job.until - t, "suspending", t + self.suspend[job.kind]
            else:
                job.loaded += use == "load"
                if use != "load" or job.loaded == len(job.ops):
                    took = self.array_ps(job.ops[0]) if use != "resume" else job.left
                    job.state, job.began, job.until = "array", t, t + took
        for number, die in enumerate(self.dies):
            job = die.job
            if not job or job.state not in ("array", "suspending") or job.until != t:
                continue
            die.busy += t - job.began
            self.trace += [Interval("sense", number, op.number, job.began, t) for op in job.ops]
            if job.state == "suspending":
                die.job, die.p = None, job
                continue
            if job.from_w:
                die.passed = 0
            if job.kind is Kind.READ:
                job.state = "sensed"
                continue
            die.job = None
            for op in job.ops:
                op.end = t

    def arrivals(self, t: int) -> None:  # T2
        while self.coming and self.coming[0].arrival == t:
            op = self.coming.pop(0)
            die = self.dies[op.die]
            changing = any(
                other.kind is not Kind.READ and other.its_block == op.its_block and other.arrival <= t and other.end < 0
                for other in self.ops[: op.number]
            )
            (die.r if self.overtakes and op.kind is Kind.READ and not changing else die.w).append(op)

    def registers(self, die: Die, t: int) -> None:  # T3
        if die.job and die.job.state == "sensed" and not die.o:
            die.o, die.o_since, die.job = list(die.job.ops), t, None

    def must_wait(self, die: Die, op: Op) -> bool:
        return op.kind is not Kind.READ and any(read.its_block == op.its_block for read in die.r)

    def next_job(self, die: Die, t: int) -> None:  # T4
        if die.job:
            return
        waiting = die.p is not None or bool(die.w)
        blocked = die.p is None and bool(die.w) and self.must_wait(die, die.w[0])
        wants_read = bool(die.r) and (not waiting or die.passed < self.overtakes or blocked)
        if not wants_read and not waiting:
            return
        queue = die.r if wants_read else die.w
        is_read = wants_read or (die.p is None and die.w[0].kind is Kind.READ)
        if die.o and not (is_read and self.part.cache_read):
            return
        if not wants_read and die.p:
            die.job, die.p = die.p, None
            die.job.since, die.job.state, die.job.suspension = t, "loading", None
            return
        die.passed += wants_read and waiting
        ops = [queue.pop(0)]
        while queue and len(ops) < (self.part.planes if self.part.multi_plane else 1):
            op = queue[0]
            same_page = op.kind is Kind.ERASE or op.page == ops[0].page
            if op.kind is not ops[0].kind or not same_page or op.plane in [other.plane for other in ops]:
                break
            if self.must_wait(die, op):
                break
            ops.append(queue.pop(0))
        die.job = Job(ops, not wants_read, t)

    def ask_to_suspend(self, die: Die, t: int) -> None:  # T5
        job = die.job
        if job and job.state == "array" and die.r and die.passed < self.overtakes and self.suspend.get(job.kind):
            job.suspension = t if job.suspension is None else job.suspension

    def channel(self, t: int) -> bool:  # T6
        """Gives the channel to one request, or drops one. False where nobody asks."""
        commands, data = [], []
        for number, die in enumerate(self.dies):
            job = die.job
            if job and job.state == "loading":
                if job.left is not None:
                    commands.append((job.since, number, "resume"))
                elif job.kind is Kind.PROGRAM:
                    data.append((job.since, number, "load"))
                else:
                    commands.append((job.since, number, "command"))
            elif job and job.state == "array" and isinstance(job.suspension, int):
                commands.append((job.suspension, number, "suspend"))
            if die.o:
                data.append((die.o_since, number, "out"))
        if not commands and not data:
            return False
        _, number, use = min(commands or data)
        die, command = self.dies[number], self.part.command_ps
        job = die.job
        took = command
        if use == "suspend":
            if job.until <= t + command + self.suspend[job.kind]:
                job.suspension = "dropped"
                return True
            self.suspensions += 1
            self.trace.append(Interval(use, number, -1, t, t + command))
        elif use == "resume":
            self.trace.append(Interval(use, number, -1, t, t + command))
        elif use == "command":
            took = command * len(job.ops)
            for place, op in enumerate(job.ops):
                op.start = t + place * command
                self.trace.append(Interval(use, number, op.number, op.start, op.start + command))
        elif use == "load":
            op = job.ops[job.loaded]
            took, op.start = command + op.transfer, t
            self.trace.append(Interval(use, number, op.number, t, t + took))
        else:
            took = die.o[0].transfer
            self.trace.append(Interval(use, number, die.o[0].number, t, t + took))
        self.carried = use, number, t + took
        return True


def naive_channel(part: NandPart, operations, overtakes: int) -> Naive:
    """Serve operations that are all on channel 0."""
    kind, place = operations.kind.tolist(), operations.place
    nbytes = [part.page_bytes] * len(kind) if operations.nbytes is None else operations.nbytes.tolist()
    arrival = [0] * len(kind) if operations.arrival is None else operations.arrival.tolist()
    ops = []
    for i, what in enumerate(kind):
        moved = 0 if what == Kind.ERASE else bytes_to_ps(nbytes[i], part.channel_mb_per_s)
        die = int(place.chip[i]) * part.dies + int(place.die[i])
        ops.append(Op(i, Kind(what), die, int(place.plane[i]), int(place.block[i]), int(place.page[i]), moved, arrival[i]))
    naive = Naive(part, ops, overtakes)
    naive.run()
    return naive
