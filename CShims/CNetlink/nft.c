// Walks a program of records and has libnftnl build one netlink message from each.
//
// Fields, in order (str: u8 length and bytes without a zero byte; data: the same, at most 64 bytes; blob: u16 length
// and bytes):
//   table     str name
//   chain     str table, str name, u8 base; a base chain also: str type, u32 hook, u32 priority, u32 policy
//   rule      str table, str chain; verb add also: blob user data, u16 count, expressions
//   set       str table, str name; verb add also: u32 id, flags, key type, key length, data type, data length, size (0:
//             no bound), data lengths of the key's parts where parts are intervals (none: u8 0), blob user data
//   elements  str table, str set, u16 count, elements: data key, u8 kind of value: 0 none, 1 data, 2 u32 verdict and
//   str
//             chain, 3 none, but data the key's end
// Verbs: 1 add, 2 delete; rule 2 deletes every rule of the chain.
#include "CNetlink.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <libnftnl/chain.h>
#include <libnftnl/common.h>
#include <libnftnl/expr.h>
#include <libnftnl/rule.h>
#include <libnftnl/set.h>
#include <libnftnl/table.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum {
  RECORD_BYTES_MAX = 56 * 1024,
  // libnftnl writes without asking for room: no field of a record grows more than eight times on the wire.
  ROOM_BYTES = 8 * RECORD_BYTES_MAX + 4096,
  MESSAGE_BYTES_MAX = 65000,
  STRING_BYTES_MAX = 256,
  DATA_BYTES_MAX = 64,
};

enum kind { KIND_TABLE = 1, KIND_CHAIN, KIND_RULE, KIND_SET, KIND_ELEMENTS };
enum verb { VERB_ADD = 1, VERB_DELETE };

/// Where reading stands; `bad` stays set once something was missing, and every read then gives zeros.
struct cursor {
  const uint8_t *bytes;
  size_t at, end;
  bool bad;
};

struct data {
  uint8_t bytes[DATA_BYTES_MAX];
  uint32_t length;
};

struct text {
  char bytes[STRING_BYTES_MAX];
};

static const uint8_t *take(struct cursor *c, size_t length) {
  if (c->bad || c->end - c->at < length) {
    c->bad = true;
    return NULL;
  }
  const uint8_t *here = c->bytes + c->at;
  c->at += length;
  return here;
}

static uint8_t take_u8(struct cursor *c) {
  const uint8_t *p = take(c, 1);
  return p == NULL ? 0 : p[0];
}

static uint16_t take_u16(struct cursor *c) {
  const uint8_t *p = take(c, 2);
  return p == NULL ? 0 : (uint16_t)(p[0] | p[1] << 8);
}

static uint32_t take_u32(struct cursor *c) {
  const uint8_t *p = take(c, 4);
  return p == NULL ? 0 : (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static struct text take_text(struct cursor *c) {
  struct text text = {{0}};
  uint8_t length = take_u8(c);
  const uint8_t *p = take(c, length);
  if (p == NULL) return text;
  if (memchr(p, 0, length) != NULL) c->bad = true;
  memcpy(text.bytes, p, length);
  return text;
}

static struct data take_data(struct cursor *c) {
  struct data data = {.length = take_u8(c)};
  const uint8_t *p = data.length > DATA_BYTES_MAX ? NULL : take(c, data.length);
  if (p == NULL || data.length == 0) {
    c->bad = true;
    data.length = 0;
    return data;
  }
  memcpy(data.bytes, p, data.length);
  return data;
}

/// Reads fields of four bytes in the order of `attributes` and sets them.
static void set_numbers(struct cursor *c, struct nftnl_expr *e, const uint16_t *attributes, size_t count) {
  for (size_t i = 0; i < count; i++) nftnl_expr_set_u32(e, attributes[i], take_u32(c));
}

static void set_data(struct cursor *c, struct nftnl_expr *e, uint16_t attribute) {
  struct data data = take_data(c);
  if (!c->bad && nftnl_expr_set(e, attribute, data.bytes, data.length) != 0) c->bad = true;
}

static void set_text(struct cursor *c, struct nftnl_expr *e, uint16_t attribute) {
  struct text text = take_text(c);
  if (!c->bad && nftnl_expr_set_str(e, attribute, text.bytes) != 0) c->bad = true;
}

enum { NUMBERS_MAX = 7 };

/// What follows the numbers of an expression.
enum tail {
  TAIL_NONE,
  TAIL_CMP,
  TAIL_BITWISE,
  TAIL_LOOKUP,
  TAIL_VALUE,
  TAIL_VERDICT,
  TAIL_CT,
  TAIL_NAT,
  TAIL_REJECT,
  TAIL_DYNSET
};

struct shape {
  const char *name;
  uint16_t numbers[NUMBERS_MAX];
  uint8_t count;
  uint8_t tail;
};

static const struct shape shapes[] = {
    {NULL, {0}, 0, TAIL_NONE},
    {"meta", {NFTNL_EXPR_META_KEY, NFTNL_EXPR_META_DREG}, 2, TAIL_NONE},
    {"meta", {NFTNL_EXPR_META_KEY, NFTNL_EXPR_META_SREG}, 2, TAIL_NONE},
    {"payload",
     {NFTNL_EXPR_PAYLOAD_DREG, NFTNL_EXPR_PAYLOAD_BASE, NFTNL_EXPR_PAYLOAD_OFFSET, NFTNL_EXPR_PAYLOAD_LEN},
     4,
     TAIL_NONE},
    {"cmp", {NFTNL_EXPR_CMP_SREG, NFTNL_EXPR_CMP_OP}, 2, TAIL_CMP},
    {"bitwise", {NFTNL_EXPR_BITWISE_SREG, NFTNL_EXPR_BITWISE_DREG, NFTNL_EXPR_BITWISE_LEN}, 3, TAIL_BITWISE},
    {"lookup", {NFTNL_EXPR_LOOKUP_SREG}, 1, TAIL_LOOKUP},
    {"numgen", {NFTNL_EXPR_NG_DREG, NFTNL_EXPR_NG_MODULUS, NFTNL_EXPR_NG_TYPE, NFTNL_EXPR_NG_OFFSET}, 4, TAIL_NONE},
    {"hash",
     {NFTNL_EXPR_HASH_SREG, NFTNL_EXPR_HASH_DREG, NFTNL_EXPR_HASH_LEN, NFTNL_EXPR_HASH_MODULUS, NFTNL_EXPR_HASH_SEED,
      NFTNL_EXPR_HASH_OFFSET, NFTNL_EXPR_HASH_TYPE},
     7,
     TAIL_NONE},
    {"immediate", {NFTNL_EXPR_IMM_DREG}, 1, TAIL_VALUE},
    {"immediate", {NFTNL_EXPR_IMM_DREG, NFTNL_EXPR_IMM_VERDICT}, 2, TAIL_VERDICT},
    {"nat", {NFTNL_EXPR_NAT_TYPE, NFTNL_EXPR_NAT_FAMILY}, 2, TAIL_NAT},
    {"masq", {0}, 0, TAIL_NONE},
    {"reject", {NFTNL_EXPR_REJECT_TYPE}, 1, TAIL_REJECT},
    {"ct", {NFTNL_EXPR_CT_KEY, NFTNL_EXPR_CT_DREG}, 2, TAIL_CT},
    {"fib", {NFTNL_EXPR_FIB_DREG, NFTNL_EXPR_FIB_RESULT, NFTNL_EXPR_FIB_FLAGS}, 3, TAIL_NONE},
    {"counter", {0}, 0, TAIL_NONE},
    {"dynset", {NFTNL_EXPR_DYNSET_OP, NFTNL_EXPR_DYNSET_SREG_KEY}, 2, TAIL_DYNSET},
};

static void set_tail(struct cursor *c, struct nftnl_expr *e, enum tail tail) {
  switch (tail) {
  case TAIL_CMP:
    set_data(c, e, NFTNL_EXPR_CMP_DATA);
    break;
  case TAIL_BITWISE:
    set_data(c, e, NFTNL_EXPR_BITWISE_MASK);
    set_data(c, e, NFTNL_EXPR_BITWISE_XOR);
    break;
  case TAIL_LOOKUP: {
    // The verdict register is a target too, so "none" needs a flag of its own.
    bool has_target = take_u8(c) != 0;
    uint32_t target = take_u32(c);
    if (has_target) nftnl_expr_set_u32(e, NFTNL_EXPR_LOOKUP_DREG, target);
    set_text(c, e, NFTNL_EXPR_LOOKUP_SET);
    uint32_t flags = take_u32(c);
    if (flags != 0) nftnl_expr_set_u32(e, NFTNL_EXPR_LOOKUP_FLAGS, flags);
    break;
  }
  case TAIL_VALUE:
    set_data(c, e, NFTNL_EXPR_IMM_DATA);
    break;
  case TAIL_VERDICT: {
    struct text chain = take_text(c);
    if (!c->bad && chain.bytes[0] != 0 && nftnl_expr_set_str(e, NFTNL_EXPR_IMM_CHAIN, chain.bytes) != 0) c->bad = true;
    break;
  }
  case TAIL_NAT: {
    uint32_t address = take_u32(c), port = take_u32(c);
    if (address != 0) nftnl_expr_set_u32(e, NFTNL_EXPR_NAT_REG_ADDR_MIN, address);
    if (port != 0) nftnl_expr_set_u32(e, NFTNL_EXPR_NAT_REG_PROTO_MIN, port);
    break;
  }
  case TAIL_REJECT: {
    uint8_t code = take_u8(c);
    // A reset has no code, and the kernel lists none.
    if (nftnl_expr_get_u32(e, NFTNL_EXPR_REJECT_TYPE) != NFT_REJECT_TCP_RST)
      nftnl_expr_set_u8(e, NFTNL_EXPR_REJECT_CODE, code);
    break;
  }
  case TAIL_CT: {
    uint8_t direction = take_u8(c);
    if (direction != 0xff) nftnl_expr_set_u8(e, NFTNL_EXPR_CT_DIR, direction);
    break;
  }
  case TAIL_DYNSET: {
    uint32_t source = take_u32(c), seconds = take_u32(c);
    if (source != 0) nftnl_expr_set_u32(e, NFTNL_EXPR_DYNSET_SREG_DATA, source);
    if (seconds != 0) nftnl_expr_set_u64(e, NFTNL_EXPR_DYNSET_TIMEOUT, (uint64_t)seconds * 1000);
    set_text(c, e, NFTNL_EXPR_DYNSET_SET_NAME);
    break;
  }
  case TAIL_NONE:
    break;
  }
}

static struct nftnl_expr *take_expression(struct cursor *c) {
  uint8_t kind = take_u8(c);
  if (c->bad || kind == 0 || kind >= sizeof shapes / sizeof shapes[0]) {
    c->bad = true;
    return NULL;
  }
  const struct shape *shape = &shapes[kind];
  struct nftnl_expr *e = nftnl_expr_alloc(shape->name);
  if (e == NULL) return NULL;
  set_numbers(c, e, shape->numbers, shape->count);
  set_tail(c, e, (enum tail)shape->tail);
  return e;
}

static int build_table(struct cursor *c, struct nlmsghdr *header) {
  struct text name = take_text(c);
  struct nftnl_table *table = nftnl_table_alloc();
  if (table == NULL) return ENOMEM;
  nftnl_table_set_str(table, NFTNL_TABLE_NAME, name.bytes);
  if (!c->bad) nftnl_table_nlmsg_build_payload(header, table);
  nftnl_table_free(table);
  return 0;
}

static int build_chain(struct cursor *c, struct nlmsghdr *header) {
  struct text table = take_text(c), name = take_text(c);
  struct nftnl_chain *chain = nftnl_chain_alloc();
  if (chain == NULL) return ENOMEM;
  nftnl_chain_set_str(chain, NFTNL_CHAIN_TABLE, table.bytes);
  nftnl_chain_set_str(chain, NFTNL_CHAIN_NAME, name.bytes);
  if (take_u8(c) != 0) {
    struct text type = take_text(c);
    nftnl_chain_set_str(chain, NFTNL_CHAIN_TYPE, type.bytes);
    nftnl_chain_set_u32(chain, NFTNL_CHAIN_HOOKNUM, take_u32(c));
    nftnl_chain_set_s32(chain, NFTNL_CHAIN_PRIO, (int32_t)take_u32(c));
    nftnl_chain_set_u32(chain, NFTNL_CHAIN_POLICY, take_u32(c));
  }
  if (!c->bad) nftnl_chain_nlmsg_build_payload(header, chain);
  nftnl_chain_free(chain);
  return 0;
}

static int build_rule(struct cursor *c, enum verb verb, struct nlmsghdr *header) {
  struct text table = take_text(c), chain = take_text(c);
  struct nftnl_rule *rule = nftnl_rule_alloc();
  if (rule == NULL) return ENOMEM;
  int err = 0;
  nftnl_rule_set_str(rule, NFTNL_RULE_TABLE, table.bytes);
  nftnl_rule_set_str(rule, NFTNL_RULE_CHAIN, chain.bytes);
  if (verb == VERB_ADD) {
    uint16_t length = take_u16(c);
    const uint8_t *comment = take(c, length);
    if (comment != NULL && length > 0) nftnl_rule_set_data(rule, NFTNL_RULE_USERDATA, comment, length);
    uint16_t count = take_u16(c);
    for (uint16_t i = 0; i < count && !c->bad && err == 0; i++) {
      struct nftnl_expr *e = take_expression(c);
      if (e == NULL)
        err = c->bad ? 0 : ENOMEM;
      else
        nftnl_rule_add_expr(rule, e);
    }
  }
  if (!c->bad && err == 0) nftnl_rule_nlmsg_build_payload(header, rule);
  nftnl_rule_free(rule);
  return err;
}

static int build_set(struct cursor *c, enum verb verb, struct nlmsghdr *header) {
  struct text table = take_text(c), name = take_text(c);
  struct nftnl_set *set = nftnl_set_alloc();
  if (set == NULL) return ENOMEM;
  nftnl_set_set_str(set, NFTNL_SET_TABLE, table.bytes);
  nftnl_set_set_str(set, NFTNL_SET_NAME, name.bytes);
  if (verb == VERB_ADD) {
    nftnl_set_set_u32(set, NFTNL_SET_ID, take_u32(c));
    uint32_t flags = take_u32(c);
    nftnl_set_set_u32(set, NFTNL_SET_FLAGS, flags);
    nftnl_set_set_u32(set, NFTNL_SET_KEY_TYPE, take_u32(c));
    nftnl_set_set_u32(set, NFTNL_SET_KEY_LEN, take_u32(c));
    uint32_t data_type = take_u32(c), data_length = take_u32(c);
    if ((flags & NFT_SET_MAP) != 0) {
      nftnl_set_set_u32(set, NFTNL_SET_DATA_TYPE, data_type);
      nftnl_set_set_u32(set, NFTNL_SET_DATA_LEN, data_length);
    }
    uint32_t size = take_u32(c);
    if (size != 0) nftnl_set_set_u32(set, NFTNL_SET_DESC_SIZE, size);
    uint8_t parts = take_u8(c);
    const uint8_t *lengths = take(c, parts);
    if (lengths != NULL && parts > 0) nftnl_set_set_data(set, NFTNL_SET_DESC_CONCAT, lengths, parts);
    uint16_t length = take_u16(c);
    const uint8_t *user = take(c, length);
    if (user != NULL && length > 0) nftnl_set_set_data(set, NFTNL_SET_USERDATA, user, length);
  }
  if (!c->bad) nftnl_set_nlmsg_build_payload(header, set);
  nftnl_set_free(set);
  return 0;
}

static int take_element(struct cursor *c, struct nftnl_set *set) {
  struct nftnl_set_elem *element = nftnl_set_elem_alloc();
  if (element == NULL) return ENOMEM;
  struct data key = take_data(c);
  nftnl_set_elem_set(element, NFTNL_SET_ELEM_KEY, key.bytes, key.length);
  uint8_t kind = take_u8(c);
  if (kind == 1) {
    struct data value = take_data(c);
    nftnl_set_elem_set(element, NFTNL_SET_ELEM_DATA, value.bytes, value.length);
  } else if (kind == 2) {
    nftnl_set_elem_set_u32(element, NFTNL_SET_ELEM_VERDICT, take_u32(c));
    struct text chain = take_text(c);
    if (chain.bytes[0] != 0) nftnl_set_elem_set_str(element, NFTNL_SET_ELEM_CHAIN, chain.bytes);
  } else if (kind == 3) {
    struct data end = take_data(c);
    nftnl_set_elem_set(element, NFTNL_SET_ELEM_KEY_END, end.bytes, end.length);
  } else if (kind != 0) {
    c->bad = true;
  }
  nftnl_set_elem_add(set, element);
  return 0;
}

static int build_elements(struct cursor *c, struct nlmsghdr *header) {
  struct text table = take_text(c), name = take_text(c);
  struct nftnl_set *set = nftnl_set_alloc();
  if (set == NULL) return ENOMEM;
  int err = 0;
  nftnl_set_set_str(set, NFTNL_SET_TABLE, table.bytes);
  nftnl_set_set_str(set, NFTNL_SET_NAME, name.bytes);
  uint16_t count = take_u16(c);
  for (uint16_t i = 0; i < count && !c->bad && err == 0; i++) err = take_element(c, set);
  if (!c->bad && err == 0) nftnl_set_elems_nlmsg_build_payload(header, set);
  nftnl_set_free(set);
  return err;
}

static uint16_t message_type(enum kind kind, enum verb verb) {
  static const uint16_t types[][2] = {
      {0, 0},
      {NFT_MSG_NEWTABLE, NFT_MSG_DELTABLE},
      {NFT_MSG_NEWCHAIN, NFT_MSG_DELCHAIN},
      {NFT_MSG_NEWRULE, NFT_MSG_DELRULE},
      {NFT_MSG_NEWSET, NFT_MSG_DELSET},
      {NFT_MSG_NEWSETELEM, NFT_MSG_DELSETELEM},
  };
  return types[kind][verb - 1];
}

/// One record to one message at `buffer`, which has ROOM_BYTES; its length in `*length`. 0 or an error number.
static int build(struct cursor *c, char *buffer, uint32_t sequence, size_t *length) {
  uint8_t kind = take_u8(c), verb = take_u8(c);
  if (c->bad || kind < KIND_TABLE || kind > KIND_ELEMENTS || verb < VERB_ADD || verb > VERB_DELETE) return EINVAL;
  uint16_t flags = 0;
  if (verb == VERB_ADD) flags = kind == KIND_RULE ? NLM_F_CREATE | NLM_F_APPEND : NLM_F_CREATE;
  // An element that is there already is an error: what we believe the set holds would be wrong.
  if (verb == VERB_ADD && kind == KIND_ELEMENTS) flags |= NLM_F_EXCL;
  struct nlmsghdr *header = nftnl_nlmsg_build_hdr(buffer, message_type(kind, verb), NFPROTO_INET, flags, sequence);
  int err = 0;
  switch (kind) {
  case KIND_TABLE:
    err = build_table(c, header);
    break;
  case KIND_CHAIN:
    err = build_chain(c, header);
    break;
  case KIND_RULE:
    err = build_rule(c, verb, header);
    break;
  case KIND_SET:
    err = build_set(c, verb, header);
    break;
  default:
    err = build_elements(c, header);
    break;
  }
  if (err == 0 && (c->bad || c->at != c->end)) err = EINVAL;
  if (err == 0 && header->nlmsg_len > MESSAGE_BYTES_MAX) err = EMSGSIZE;
  *length = MNL_ALIGN(header->nlmsg_len);
  return err;
}

/// Room for one more message behind `batch->length`; false when memory is out.
static bool reserve(struct cnetlink_batch *batch, size_t *capacity) {
  if (*capacity - batch->length >= ROOM_BYTES) return true;
  size_t larger = *capacity * 2 + ROOM_BYTES;
  uint8_t *bytes = realloc(batch->bytes, larger);
  if (bytes == NULL) return false;
  batch->bytes = bytes;
  *capacity = larger;
  return true;
}

struct cnetlink_batch cnetlink_nft_batch(const uint8_t *program, size_t length, uint32_t sequence) {
  struct cnetlink_batch batch = {0};
  struct cursor whole = {.bytes = program, .end = length};
  size_t capacity = 0;
  if (!reserve(&batch, &capacity)) {
    batch.err = ENOMEM;
    return batch;
  }
  batch.length = MNL_ALIGN(nftnl_batch_begin((char *)batch.bytes, sequence)->nlmsg_len);
  while (whole.at < whole.end && batch.err == 0) {
    uint32_t size = take_u32(&whole);
    size_t start = whole.at;
    if (size > RECORD_BYTES_MAX || take(&whole, size) == NULL) {
      batch.err = EINVAL;
      break;
    }
    if (!reserve(&batch, &capacity)) {
      batch.err = ENOMEM;
      break;
    }
    struct cursor record = {.bytes = program, .at = start, .end = start + size};
    size_t built = 0;
    batch.err = build(&record, (char *)batch.bytes + batch.length, sequence + 1 + batch.messages, &built);
    batch.position = record.at;
    if (batch.err != 0) break;
    batch.length += built;
    batch.messages++;
  }
  if (batch.err == 0 && !reserve(&batch, &capacity)) batch.err = ENOMEM;
  if (batch.err == 0) {
    char *end = (char *)batch.bytes + batch.length;
    batch.length += MNL_ALIGN(nftnl_batch_end(end, sequence + 1 + batch.messages)->nlmsg_len);
  }
  return batch;
}

void cnetlink_batch_free(struct cnetlink_batch *batch) {
  free(batch->bytes);
  *batch = (struct cnetlink_batch){0};
}
