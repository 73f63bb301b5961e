"""Command-level reference of a DRAM channel and its controller, cycle-exact. This is its specification; the RTL equals it.

One controller drives one channel of a `memsys.part.Part`. Time is counted in cycles of the command clock (tCK), from 0. All
that is decided in cycle t is decided from the registers at the start of t and from t itself; the registers change at the end of
t. So the rules hold in parallel hardware, in whatever order they are worked out. FR-FCFS after Rixner et al., ISCA'00; holding
of activated requests, write drain and refresh before new work as in Ramulator 2.1.

**Names.** Banks of a channel are numbered ``((pseudo channel x ranks + rank) x groups + group) x banks + bank``; ranks ``pseudo
channel x ranks + rank``. A request is (kind: read or write, bank, row, column of one burst). Parameters are those of
`Controller`.

**Registers.**

S1. ``R`` and ``W``: queues of waiting reads and of waiting writes, oldest first, ``depth`` requests each. ``M``: read or write,
    the queue served, at first read.
S2. ``H``: the requests held, whose row was opened for them; in the order of their ACT, ``held`` at most. A bank has one of them
    at most.
S3. For each bank: open or closed, and the row; all closed at first. For each rank: the refreshes ``owed``, at first 0; and with
    per-bank refresh the bank that is ``next``, at first 0, counted within the rank.
S4. For each rule of `memsys.constraints`, when its command was last issued (the last ``window`` times). A command is *ready* in
    t when no rule forbids it. Nothing has been issued before cycle 0.
S5. ``age`` of R, of W and of H: cycles since its first request came to be the first, 0 in the first cycle in which it is. A
    list is *urgent* when it is not empty and its age is ``patience`` or more.

**Cycle t.**

T1. *Refresh timer.* If t > 0 and t is a multiple of the interval (tREFI; tREFI_PB for per-bank refresh), each rank owes one
    refresh more, which counts from this cycle on. A rank that owes one *closes* to queued requests: all of its banks, or with
    per-bank refresh ``next``.
T2. *Queue served.* M becomes: read if R is urgent; else write if W is urgent; else from read: write if W has ``drain_start``
    requests or more, or R is empty; from write: read if W has ``drain_stop`` or fewer and R is not empty. The new M counts from
    this cycle on. Q is its queue. If Q is urgent, only its first request may be served in this cycle.
T3. *Direction.* K is the kind of the first request of H, or M where H is empty.
T4. *Held requests.* Each request of H of kind K offers its column command. If H is urgent, only the first one does, and no
    request of Q offers a column command.
T5. *Refresh.* Each rank that owes offers: PREA, if any of its banks is open, or else REFAB; with per-bank refresh PRE for
    ``next`` if that is open, or else REFPB. PREA and PRE are not offered while a request is held in a bank that they would
    close.
T6. *Queued requests.* Each request of Q that may be served (T2) and whose bank is not closed to it (T1) offers, if its bank is
    - open at its row: its column command, if M = K;
    - closed: ACT, if H has fewer than ``held`` and the bank's rank owes fewer than two refreshes;
    - open at another row: PRE, if no request of H is in this bank and, unless Q is urgent, none of Q wants the row that is
      open.
T7. *Column commands* are RD and WR. With the closed page, they are RDA and WRA unless another request, of H or Q, wants the
    same row of the same bank.
T8. *Choice.* Of the offers that are ready: with one command bus, the first of H, else the first rank's of T5, else the first of
    Q. With two command buses (HBM), on the column bus the first of H, else the first column command of Q; on the row bus the
    first rank's of T5, else the first ACT or PRE of Q. First is by the order of the list, or by the number of the rank.
T9. *Issue.* ACT opens the bank at the row of its request, which moves from Q to the end of H. PRE, RDA, WRA close their bank,
    PREA the banks of its rank. A column command takes its request out of H or Q: its data ends at t + CL + burst, or t + CWL +
    burst. REFAB and REFPB reduce what their rank owes by one; REFPB moves ``next`` to the next bank of the rank, after the last
    to the first.
T10. *Acceptance.* At most one request enters in a cycle. It is accepted in t if its queue has fewer than ``depth`` requests,
    and none of the other kind to the same bank, row and column is in H, R or W (which keeps reads and writes of one address in
    their order); both by the registers at the start of t. It waits in its queue from t + 1 on.

No two offers of one cycle conflict: a bank that is read or written in t is open at a row that somebody wants, so nothing closes
it.

Nobody starves: an urgent list serves its first alone, and refresh yields to held requests only. This rests on ``patience``: of
two urgent queues reads come first (T2), so that writes are served only from the ACT of one urgent read until the next read is
urgent, ``patience`` cycles later. By then the first write must have come from the row just opened to its own: hence a patience
of max(tRC, tRCD_RD + tRTP + tRP, tRCD_WR + CWL + burst + tWR + tRP) at least, for which `Controller.check` asks. Measured on all
parts: among reads that each want another row of its bank, a write waits for as long as they come up to a patience of tRC - 2; at
the bound, in 9364 hostile streams no request waited longer than (2 depth + 4) x patience + 2 tRFC.

Left out: power-down, merging of requests, forwarding of written data to reads (T10 orders them instead).
"""
