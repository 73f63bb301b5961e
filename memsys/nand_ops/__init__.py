"""Page operations on NAND, to the picosecond: which die works when, and what is on its channel. This is the specification.

A channel of a `memsys.nand_part.NandPart` is a bus and the dies on it; channels do not meet. An operation is (kind: read, program
or erase; die, plane, block, page; bytes to move; arrival). Times of arrays are the part's; a transfer takes bytes / rate, rounded
up. `operations` runs it; `engine` is these rules compiled by Numba; a test holds it to a second program in plain Python, by each
operation, and `monitor` looks at the intervals by brute force.

**State of a die.**

S1. Queues ``R`` and ``W``, in the order of arrival. Everything is in W where reads have no priority: with ``overtakes`` = 0, or
    where the part can suspend neither programs nor erases.
S2. The *job*: one operation for each of up to all planes (one plane without multi-plane operations), all of one kind, reads and
    programs of one page number. It is *loading* (wants the channel), *in the array*, *sensed*, or being *suspended*.
S3. ``O``: pages read that wait for the channel. Without cache reads they lie in the registers that a next operation needs.
S4. ``P``: a job suspended, and what is left of its time in the array. The *first in order* is P, or else the head of W.
S5. ``passed``: jobs from R that were formed since the first in order came to be the first.

**An instant**, at every time at which something arrives or ends; in this order.

T1. *Ends.* What the channel carried has arrived (T7). An array that is done: programs and erases end; reads are sensed; a die
    that was suspending puts its job into P. A job from W that ends in the array sets ``passed`` to 0.
T2. *Arrivals.* A read enters R, or W where a program or erase of its block (on its plane) has arrived and not ended. All else
    enters W.
T3. *Registers.* A job that is sensed moves to O if O is empty.
T4. *Next job* of a die without one. A read of R is wanted if R has one, and either nothing is first in order, or ``passed`` is
    below ``overtakes``, or the head of W programs or erases a block of which a read is in R. Otherwise the first in order is
    wanted. A read may start with cache reads, or where O is empty; all else where O is empty. A job is formed of the head of its
    queue and what follows it directly there, as far as S2 allows and the exception above does not hold for it.
T5. *Suspension.* Where R is not empty, ``passed`` is below ``overtakes`` and the part can suspend the kind of the job in the
    array, the die asks for the channel to suspend it; once for each time that it is in the array.
T6. *Channel*, where it is free. Commands first: of reads and erases (one for each operation), of resuming P, of suspending; then
    data: the first page of O, or the next page that a program loads (its command and its bytes). Among either, who has waited
    longest, then the lower number of the die: a job waits since it was formed, O since its pages came, a suspension since it was
    asked for. A suspension that would come so late that the array were done before the die is free is dropped.
T7. *What follows.* After their commands reads and erases are in the array for tR or tBERS; after its last page a program, for
    tPROG; a job resumed, for what was left. A page of O has left: its read ends. A suspension stops the array at the end of its
    command; the die is free ``suspend_program`` or ``suspend_erase`` later.

Nobody starves: at most ``overtakes`` jobs go before the first in order, which is then neither passed nor suspended; and the reads
of its block that it waits for come to an end, as later ones wait in W behind it. A die has one command and the pages of one job
to send at a time, so that data come to the channel between commands.

Left out: the time from register to cache register (tRCBSY), reads of less than a page from the cells, cache programs, planes that
work apart from each other.
"""
