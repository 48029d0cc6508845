/* libfaketime 0.9.10 takes the absolute sleeps of Python 3.11 on the monotonic clock, which it does not fake, for ones on
 * the clock that it does: time.sleep() fails with EINVAL. Loaded before it, this asks the kernel alone. */
#define _GNU_SOURCE
#include <errno.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_nanosleep(clockid_t clock, int flags, const struct timespec *wanted, struct timespec *left)
{
    return syscall(SYS_clock_nanosleep, clock, flags, wanted, left) == 0 ? 0 : errno;
}
