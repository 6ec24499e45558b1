#include "CNetlink.h"

#include <errno.h>
#include <fcntl.h>
#include <libmnl/libmnl.h>
#include <linux/nsfs.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

int cnetlink_open(int protocol) {
  struct mnl_socket *socket = mnl_socket_open2(protocol, SOCK_CLOEXEC);
  if (socket == NULL) return -1;
  int one = 1;
  int fd = -1;
  if (mnl_socket_bind(socket, 0, MNL_SOCKET_AUTOPID) == 0) {
    // The kernel then says which attribute it refused; the echo of the refused request would only fill the buffer.
    (void)mnl_socket_setsockopt(socket, NETLINK_EXT_ACK, &one, sizeof one);
    (void)mnl_socket_setsockopt(socket, NETLINK_CAP_ACK, &one, sizeof one);
    // libmnl's handle is memory of its own around the descriptor: keep the latter alone.
    fd = fcntl(mnl_socket_get_fd(socket), F_DUPFD_CLOEXEC, 3);
  }
  int err = errno;
  mnl_socket_close(socket);
  errno = err;
  return fd;
}

int cnetlink_force_buffers(int socket, int bytes) {
  if (setsockopt(socket, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof bytes) == -1) return -1;
  return setsockopt(socket, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes);
}

int cnetlink_join(int socket, int group, int joined) {
  int option = joined ? NETLINK_ADD_MEMBERSHIP : NETLINK_DROP_MEMBERSHIP;
  return setsockopt(socket, SOL_NETLINK, option, &group, sizeof group);
}

uint32_t cnetlink_port(int socket) {
  struct sockaddr_nl address = {0};
  socklen_t length = sizeof address;
  if (getsockname(socket, (struct sockaddr *)&address, &length) == -1) return 0;
  return address.nl_pid;
}

unsigned cnetlink_link_index(const char *name) { return if_nametoindex(name); }

int cnetlink_namespace_type(int fd) { return ioctl(fd, NS_GET_NSTYPE); }
