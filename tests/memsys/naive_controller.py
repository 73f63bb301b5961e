"""The rules S1 to T10 of `memsys.reference` as they are written, cycle by cycle: what the compiled reference must equal."""

from __future__ import annotations

from dataclasses import dataclass, field

from memsys.constraints import Scope, constraints
from memsys.monitor import instance
from memsys.part import Command, Part
from memsys.reference.controller import Controller, Issued, Requests

ACT, PRE, PREA, RD, WR, RDA, WRA, REFAB, REFPB = Command
SCOPES = (Scope.CHANNEL, Scope.PSEUDO_CHANNEL, Scope.RANK, Scope.BANK_GROUP, Scope.BANK)


@dataclass
class Naive:
    part: Part
    controller: Controller
    requests: Requests
    queues: tuple[list[int], list[int], list[int]] = field(default_factory=lambda: ([], [], []))  # R, W, H
    head: list[tuple[int | None, int]] = field(default_factory=lambda: [(None, 0)] * 3)  # the first of each and since when
    mode: int = 0
    commands: list[Issued] = field(default_factory=list)
    offered: int = 0

    def __post_init__(self) -> None:
        part, place = self.part, self.requests.location
        self.rows: dict[int, int] = {}
        self.ranks = part.banks_per_channel // part.banks_per_rank
        self.owed, self.next = [0] * self.ranks, [0] * self.ranks
        self.write = self.requests.write.tolist()
        self.bank, self.row, self.column = (field.tolist() for field in (place.bank, place.row, place.column))
        arrival = self.requests.arrival
        self.arrival = [0] * len(self.write) if arrival is None else arrival.tolist()
        self.rules = {command: [r for r in constraints(part) if r.after is command] for command in Command}
        self.history: dict[tuple[Command, Scope, int], list[int]] = {}

    def run(self, until: int) -> list[Issued]:
        served, t = 0, 0
        while served < len(self.write) or t < until:
            served += self.cycle(t)
            t += 1
        return self.commands

    def ready(self, t: int, command: Command, bank: int) -> bool:
        for rule in self.rules[command]:
            own, ranks = instance(self.part, rule.scope, bank), self.part.organisation.ranks
            places = [own]
            if rule.scope is Scope.OTHER_RANK:
                first = own - own % ranks
                places = [rank for rank in range(first, first + ranks) if rank != own]
            for place in places:
                cycles = self.history.get((rule.before, Scope.RANK if rule.scope is Scope.OTHER_RANK else rule.scope, place), [])
                if len(cycles) >= rule.window and t - cycles[-rule.window] < rule.cycles:
                    return False
        return True

    def urgent(self, t: int, which: int) -> bool:
        return bool(self.queues[which]) and t - self.head[which][1] >= self.controller.patience

    def cycle(self, t: int) -> int:
        """One cycle; returns the column commands issued."""
        c, timing, banks = self.controller, self.part.timing, self.part.banks_per_rank
        per_bank = c.refresh == "per_bank"
        interval = timing.trefi_pb if per_bank else timing.trefi
        if c.refresh != "none" and t > 0 and t % interval == 0:  # T1
            self.owed = [owed + 1 for owed in self.owed]
        reads, writes, held = self.queues
        if self.urgent(t, 0):  # T2
            self.mode = 0
        elif self.urgent(t, 1):
            self.mode = 1
        elif self.mode == 0:
            self.mode = int(len(writes) >= c.drain_start or not reads)
        else:
            self.mode = int(not (len(writes) <= c.drain_stop and reads))
        queue, alone = self.queues[self.mode], self.urgent(t, self.mode)
        kind = self.write[held[0]] if held else self.mode  # T3
        held_in = {self.bank[request] for request in held}

        def wants(request: int, bank: int) -> bool:
            return self.bank[request] == bank and self.row[request] == self.rows.get(bank)

        def column(request: int) -> Command:  # T7
            bank = self.bank[request]
            last = not any(wants(other, bank) for other in [*held, *queue] if other != request)
            kinds = ((RD, RDA), (WR, WRA))[self.write[request]]
            return kinds[c.page == "closed" and last]

        from_held = [request for request in held if self.write[request] == kind]  # T4
        if self.urgent(t, 2):
            from_held = held[:1]
        offers = [(2, request, column(request), self.bank[request]) for request in from_held]
        for rank in range(self.ranks):  # T5
            first = rank * banks
            if self.owed[rank] and per_bank:
                bank = first + self.next[rank]
                if bank not in self.rows:
                    offers.append((3, -1, REFPB, bank))
                elif bank not in held_in:
                    offers.append((3, -1, PRE, bank))
            elif self.owed[rank]:
                of_rank = set(range(first, first + banks))
                if not of_rank & set(self.rows):
                    offers.append((3, -1, REFAB, first))
                elif not of_rank & held_in:
                    offers.append((3, -1, PREA, first))
        for request in queue[:1] if alone else queue:  # T6
            bank, rank = self.bank[request], self.bank[request] // banks
            if self.owed[rank] and (not per_bank or bank == rank * banks + self.next[rank]):
                continue
            if wants(request, bank):
                if self.mode == kind and not self.urgent(t, 2):
                    offers.append((self.mode, request, column(request), bank))
            elif bank not in self.rows:
                if len(held) < c.held and self.owed[rank] < 2:
                    offers.append((self.mode, request, ACT, bank))
            elif bank not in held_in and (alone or not any(wants(other, bank) for other in queue)):
                offers.append((self.mode, request, PRE, bank))

        chosen = []  # T8
        buses = ((RD, WR, RDA, WRA), (ACT, PRE, PREA, REFAB, REFPB))
        for bus in buses if self.part.organisation.split_command_bus else (tuple(Command),):
            chosen += [offer for offer in offers if offer[2] in bus and self.ready(t, offer[2], offer[3])][:1]

        enters = self.enters(t)  # T10
        for source, request, command, bank in chosen:  # T9
            rank = bank // banks
            if command in (RD, WR, RDA, WRA):
                self.queues[source].remove(request)
            if command is ACT:
                queue.remove(request)
                held.append(request)
                self.rows[bank] = self.row[request]
            if command in (PRE, RDA, WRA):
                del self.rows[bank]
            if command is PREA:
                self.rows = {b: row for b, row in self.rows.items() if b // banks != rank}
            if command in (REFAB, REFPB):
                self.owed[rank] -= 1
            if command is REFPB:
                self.next[rank] = (self.next[rank] + 1) % banks
            row = self.row[request] if request >= 0 and command is not PRE else -1
            self.commands.append(Issued(t, command, bank, row, request))
            for scope in SCOPES:
                self.history.setdefault((command, scope, instance(self.part, scope, bank)), []).append(t)
        if enters:
            self.queues[self.write[self.offered]].append(self.offered)
            self.offered += 1
        for which, waiting in enumerate(self.queues):  # S5
            first = waiting[0] if waiting else None
            if self.head[which][0] != first:
                self.head[which] = (first, t + 1)
        return sum(command in (RD, WR, RDA, WRA) for _, _, command, _ in chosen)

    def enters(self, t: int) -> bool:
        new = self.offered
        if new == len(self.write) or self.arrival[new] > t or len(self.queues[self.write[new]]) >= self.controller.depth:
            return False
        place = (self.bank[new], self.row[new], self.column[new])
        return not any(
            (self.bank[other], self.row[other], self.column[other]) == place and self.write[other] != self.write[new]
            for waiting in self.queues
            for other in waiting
        )
