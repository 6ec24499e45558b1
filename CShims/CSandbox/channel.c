#include "channel.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { EVENTS_MAX = 64 };

int csandbox_socket_pair(int ends[2]) { return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends); }

int csandbox_connect(int directory) {
  int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  if (fd < 0) return -1;
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  (void)snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/shim.sock", directory);
  if (connect(fd, (const struct sockaddr *)&address, sizeof address) == 0) return fd;
  int err = errno;
  (void)close(fd);
  errno = err;
  return -1;
}

int csandbox_epoll_create(void) { return epoll_create1(EPOLL_CLOEXEC); }

int csandbox_epoll_add(int epoll, int fd, uint64_t token) {
  struct epoll_event event = {.events = EPOLLIN, .data.u64 = token};
  return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
}

int csandbox_epoll_remove(int epoll, int fd) { return epoll_ctl(epoll, EPOLL_CTL_DEL, fd, NULL); }

int csandbox_epoll_wait(int epoll, uint64_t *tokens, int capacity, int milliseconds) {
  struct epoll_event events[EVENTS_MAX];
  int count = epoll_wait(epoll, events, capacity < EVENTS_MAX ? capacity : EVENTS_MAX, milliseconds);
  for (int i = 0; i < count; i++) tokens[i] = events[i].data.u64;
  return count;
}

int csandbox_set_nonblocking(int fd) {
  int flags = fcntl(fd, F_GETFL);
  return flags < 0 ? -1 : fcntl(fd, F_SETFL, flags | O_NONBLOCK);
}
