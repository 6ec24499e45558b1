// nf_tables batches built by libnftnl from a program of bytes, netlink sockets opened by libmnl, and the kernel's
// numbers that Swift cannot see.
#ifndef CNETLINK_H
#define CNETLINK_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/// A netlink batch, ready to send; `cnetlink_batch_free` gives the memory back, also after an error.
struct cnetlink_batch {
  uint8_t *_Nullable bytes;
  size_t length;
  /// Without the batch's begin and end.
  uint32_t messages;
  /// 0, ENOMEM, EINVAL (the program is malformed at `position`) or EMSGSIZE (one message passes 64 KiB).
  int32_t err;
  /// Byte of the program that was read last.
  size_t position;
};

/// Builds one nf_tables transaction from a program. Reads nothing outside `program`, whatever it holds.
///
/// A program is a row of records, all numbers little-endian, one record a message:
///   u32 length of what follows · u8 kind · u8 verb · fields of the kind (see nft.c).
/// Message number i gets sequence number `sequence + 1 + i`; begin has `sequence`, end the one behind the last.
struct cnetlink_batch cnetlink_nft_batch(const uint8_t *_Nonnull program, size_t length, uint32_t sequence);
void cnetlink_batch_free(struct cnetlink_batch *_Nonnull batch);

/// A bound netlink socket, close-on-exec, with extended acknowledgements; -1 and errno.
int cnetlink_open(int protocol);
/// Makes room for a message of `bytes`, past the system's limit; needs CAP_NET_ADMIN. -1 and errno.
int cnetlink_force_buffers(int socket, int bytes);
/// Has the socket told of what happens in `group`, or not any more. -1 and errno.
int cnetlink_join(int socket, int group, int joined);
/// The number by which the kernel tells the socket from others; 0 and errno.
uint32_t cnetlink_port(int socket);
/// Index of a network link of the thread's namespace; 0 and errno.
unsigned cnetlink_link_index(const char *_Nonnull name);

/// The namespace's CLONE_ flag; -1 and errno for what is no namespace.
int cnetlink_namespace_type(int fd);

// The kernel's numbers, under names of one type; numbers.c checks each against the kernel's headers.
enum {
  CNETLINK_PROTOCOL_ROUTE = 0,
  CNETLINK_PROTOCOL_NETFILTER = 12,
  CNETLINK_NLMSG_ERROR = 2,
  CNETLINK_NLMSG_DONE = 3,
  CNETLINK_NLM_F_REQUEST = 0x1,
  CNETLINK_NLM_F_ACK = 0x4,
  CNETLINK_NLM_F_DUMP = 0x300,
  CNETLINK_NLM_F_REPLACE = 0x100,
  CNETLINK_NLM_F_EXCL = 0x200,
  CNETLINK_NLM_F_CREATE = 0x400,
  CNETLINK_NLA_F_NESTED = 0x8000,
  CNETLINK_ERROR_MSG = 1,
  CNETLINK_ERROR_OFFS = 2,
  CNETLINK_RTM_NEWLINK = 16,
  CNETLINK_RTM_DELLINK = 17,
  CNETLINK_RTM_GETLINK = 18,
  CNETLINK_RTM_NEWADDR = 20,
  CNETLINK_RTM_DELADDR = 21,
  CNETLINK_RTM_GETADDR = 22,
  CNETLINK_RTM_NEWROUTE = 24,
  CNETLINK_RTM_DELROUTE = 25,
  CNETLINK_RTM_GETROUTE = 26,
  CNETLINK_RTM_NEWNEIGH = 28,
  CNETLINK_IFLA_ADDRESS = 1,
  CNETLINK_IFLA_IFNAME = 3,
  CNETLINK_IFLA_MTU = 4,
  CNETLINK_IFLA_LINKINFO = 18,
  CNETLINK_IFLA_AF_SPEC = 26,
  CNETLINK_IFLA_GROUP = 27,
  CNETLINK_IFLA_NET_NS_FD = 28,
  CNETLINK_IFLA_INFO_KIND = 1,
  CNETLINK_IFLA_INFO_DATA = 2,
  CNETLINK_VETH_INFO_PEER = 1,
  CNETLINK_IFLA_INET_CONF = 1,
  CNETLINK_IFLA_INET6_ADDR_GEN_MODE = 8,
  CNETLINK_ADDR_GEN_MODE_NONE = 1,
  CNETLINK_DEVCONF_FORWARDING = 1,
  CNETLINK_DEVCONF_RP_FILTER = 8,
  CNETLINK_IFA_ADDRESS = 1,
  CNETLINK_IFA_LOCAL = 2,
  CNETLINK_IFA_F_NODAD = 0x02,
  CNETLINK_RTA_DST = 1,
  CNETLINK_RTA_OIF = 4,
  CNETLINK_RTA_GATEWAY = 5,
  CNETLINK_RTA_PREFSRC = 7,
  CNETLINK_RT_TABLE_MAIN = 254,
  CNETLINK_RTPROT_STATIC = 4,
  CNETLINK_RT_SCOPE_UNIVERSE = 0,
  CNETLINK_RT_SCOPE_LINK = 253,
  CNETLINK_RTN_UNICAST = 1,
  CNETLINK_NDA_DST = 1,
  CNETLINK_NDA_LLADDR = 2,
  CNETLINK_NUD_PERMANENT = 0x80,
  CNETLINK_IFF_UP = 1,
  CNETLINK_CT_DELETE = 0x102,
  CNETLINK_CT_GET = 0x101,
  CNETLINK_CTA_TUPLE_ORIG = 1,
  CNETLINK_CTA_TUPLE_REPLY = 2,
  CNETLINK_CTA_FILTER = 25,
  CNETLINK_CTA_FILTER_ORIG_FLAGS = 1,
  CNETLINK_CTA_FILTER_REPLY_FLAGS = 2,
  CNETLINK_CTA_TUPLE_IP = 1,
  CNETLINK_CTA_TUPLE_PROTO = 2,
  CNETLINK_CTA_IP_V4_SRC = 1,
  CNETLINK_CTA_IP_V4_DST = 2,
  CNETLINK_CTA_IP_V6_SRC = 3,
  CNETLINK_CTA_IP_V6_DST = 4,
  CNETLINK_CTA_PROTO_NUM = 1,
  CNETLINK_CTA_PROTO_SRC_PORT = 2,
  CNETLINK_CTA_PROTO_DST_PORT = 3,
  CNETLINK_AF_INET = 2,
  CNETLINK_AF_INET6 = 10,
  CNETLINK_NFT_NEWTABLE = 0xa00,
  CNETLINK_NFT_GETTABLE = 0xa01,
  CNETLINK_NFT_NEWCHAIN = 0xa03,
  CNETLINK_NFT_GETCHAIN = 0xa04,
  CNETLINK_NFT_NEWRULE = 0xa06,
  CNETLINK_NFT_GETRULE = 0xa07,
  CNETLINK_NFT_NEWSET = 0xa09,
  CNETLINK_NFT_GETSET = 0xa0a,
  CNETLINK_NFT_NEWSETELEM = 0xa0c,
  CNETLINK_NFT_GETSETELEM = 0xa0d,
  CNETLINK_NFT_NEWGEN = 0xa0f,
  CNETLINK_NFT_GETGEN = 0xa10,
  CNETLINK_NFNLGRP_NFTABLES = 7,
  CNETLINK_AF_INET_TABLES = 1,
  CNETLINK_NLM_F_DUMP_INTR = 16,
  CNETLINK_NFTA_TABLE_NAME = 1,
  CNETLINK_NFTA_CHAIN_TABLE = 1,
  CNETLINK_NFTA_CHAIN_NAME = 3,
  CNETLINK_NFTA_CHAIN_HOOK = 4,
  CNETLINK_NFTA_CHAIN_TYPE = 7,
  CNETLINK_NFTA_HOOK_HOOKNUM = 1,
  CNETLINK_NFTA_HOOK_PRIORITY = 2,
  CNETLINK_NFTA_RULE_TABLE = 1,
  CNETLINK_NFTA_RULE_CHAIN = 2,
  CNETLINK_NFTA_RULE_EXPRESSIONS = 4,
  CNETLINK_NFTA_SET_TABLE = 1,
  CNETLINK_NFTA_SET_NAME = 2,
  CNETLINK_NFTA_SET_FLAGS = 3,
  CNETLINK_NFTA_SET_KEY_TYPE = 4,
  CNETLINK_NFTA_SET_KEY_LEN = 5,
  CNETLINK_NFTA_SET_DATA_TYPE = 6,
  CNETLINK_NFTA_SET_DATA_LEN = 7,
  CNETLINK_NFTA_SET_DESC = 9,
  CNETLINK_NFTA_SET_DESC_SIZE = 1,
  CNETLINK_NFTA_SET_ELEM_LIST_TABLE = 1,
  CNETLINK_NFTA_SET_ELEM_LIST_SET = 2,
  CNETLINK_NFTA_SET_ELEM_LIST_ELEMENTS = 3,
  CNETLINK_NFTA_SET_ELEM_KEY = 1,
  CNETLINK_NFTA_SET_ELEM_DATA = 2,
  CNETLINK_NFTA_SET_ELEM_KEY_END = 10,
  CNETLINK_NFTA_DATA_VALUE = 1,
  CNETLINK_NFTA_DATA_VERDICT = 2,
  CNETLINK_NFTA_VERDICT_CODE = 1,
  CNETLINK_NFTA_VERDICT_CHAIN = 2,
  CNETLINK_NFTA_GEN_ID = 1,
  CNETLINK_NFTA_GEN_PROC_PID = 2,
  CNETLINK_NFTA_GEN_PROC_NAME = 3,
  CNETLINK_CLONE_NEWNET = 0x40000000,
  CNETLINK_MS_BIND = 4096,
  CNETLINK_MNT_DETACH = 2,
  CNETLINK_UMOUNT_NOFOLLOW = 8,
};

#endif
