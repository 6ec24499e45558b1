// The daemon's side of the shims' sockets: calls that the Glibc module does not export.
#ifndef CSANDBOX_CHANNEL_H
#define CSANDBOX_CHANNEL_H

#include <stdint.h>

/// A connected pair of SOCK_SEQPACKET sockets, close-on-exec.
int csandbox_socket_pair(int ends[_Nonnull 2]);
/// Connects to shim.sock in a directory, through the directory's descriptor: a socket's path has at most 107 bytes.
int csandbox_connect(int directory);
int csandbox_epoll_create(void);
int csandbox_epoll_add(int epoll, int fd, uint64_t token);
int csandbox_epoll_remove(int epoll, int fd);
/// Tokens of ready descriptors; their number, 0 when the time is over, or -1. No end of time where it is negative.
int csandbox_epoll_wait(int epoll, uint64_t *_Nonnull tokens, int capacity, int milliseconds);
int csandbox_set_nonblocking(int fd);

#endif
