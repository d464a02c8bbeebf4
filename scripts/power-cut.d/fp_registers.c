// Preloaded into the kernel of scripts/power-cut. User-Mode Linux up to 6.12 sets the floating point registers of a
// guest process with the 2696 bytes that they had up to AVX-512. On a processor with more of them (AMX) the host
// refuses anything but all of them, and the guest dies at its first process. Here the rest is added as the host has it.

#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { PEEK_TEXT = 1, PEEK_USER = 3, GET_REGISTERS = 0x4204, SET_REGISTERS = 0x4205, XSTATE = 0x202 };

long ptrace(int request, ...) {
  va_list list;
  va_start(list, request);
  long process = va_arg(list, int);
  void *address = va_arg(list, void *);
  void *data = va_arg(list, void *);
  va_end(list);
  if (request >= PEEK_TEXT && request <= PEEK_USER) {
    // The system call stores what the library function returns.
    long word;
    long result = syscall(SYS_ptrace, request, process, address, &word);
    if (result < 0) return result;
    errno = 0;
    return word;
  }
  if (request == SET_REGISTERS && address == (void *)XSTATE) {
    static char registers[65536];
    struct iovec *given = data, whole = {registers, sizeof registers};
    long result = syscall(SYS_ptrace, GET_REGISTERS, process, address, &whole);
    if (result < 0) return result;
    memcpy(registers, given->iov_base, given->iov_len < whole.iov_len ? given->iov_len : whole.iov_len);
    return syscall(SYS_ptrace, request, process, address, &whole);
  }
  return syscall(SYS_ptrace, request, process, address, data);
}
