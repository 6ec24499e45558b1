/// Messages as bytes, for the kernel room to build a netlink batch from: the format that CNetlink.h describes.
package enum Program {
  package static func encode(_ messages: [Message]) -> [UInt8] {
    var writer = Writer()
    for message in messages { writer.record(message) }
    return writer.bytes
  }
}

private struct Writer {
  var bytes: [UInt8] = []

  mutating func u8(_ value: UInt8) { bytes.append(value) }
  mutating func u16(_ value: Int) {
    bytes += [UInt8(truncatingIfNeeded: value), UInt8(truncatingIfNeeded: value >> 8)]
  }
  mutating func u32(_ value: UInt32) {
    bytes.append(UInt8(truncatingIfNeeded: value))
    bytes.append(UInt8(truncatingIfNeeded: value >> 8))
    bytes.append(UInt8(truncatingIfNeeded: value >> 16))
    bytes.append(UInt8(truncatingIfNeeded: value >> 24))
  }
  mutating func numbers(_ values: UInt32...) { for value in values { u32(value) } }

  /// Names are ours and short; the builder refuses what does not fit.
  mutating func text(_ value: String) {
    u8(UInt8(clamping: value.utf8.count))
    bytes += value.utf8.prefix(255)
  }

  mutating func data(_ value: [UInt8]) {
    u8(UInt8(clamping: value.count))
    bytes += value.prefix(255)
  }

  mutating func blob(_ value: [UInt8]) {
    u16(value.count)
    bytes += value
  }

  mutating func record(_ message: Message) {
    let start = bytes.count
    u32(0)
    fields(message)
    let length = UInt32(bytes.count - start - 4)
    for index in 0..<4 { bytes[start + index] = UInt8(truncatingIfNeeded: length >> (8 * UInt32(index))) }
  }

  private mutating func fields(_ message: Message) {
    switch message {
    case .addTable(let name): head(1, add: true, name)
    case .deleteTable(let name): head(1, add: false, name)
    case .addChain(let table, let name, let base):
      head(2, add: true, table, name)
      u8(base == nil ? 0 : 1)
      guard let base else { return }
      text(base.kind.rawValue)
      let accept: UInt32 = 1
      numbers(base.hook.rawValue, UInt32(bitPattern: base.priority), accept)
    case .deleteChain(let table, let name):
      head(2, add: false, table, name)
      u8(0)
    case .addRule(let table, let chain, let rule):
      head(3, add: true, table, chain)
      blob([])
      let code = rule.instructions
      u16(code.count)
      for instruction in code { encode(instruction) }
    case .deleteRules(let table, let chain): head(3, add: false, table, chain)
    case .boundSet(let table, let set, let room): fields(.addSet(table: table, set, id: 0, room: room))
    case .addSet(let table, let set, let id, let room):
      head(4, add: true, table, set.name)
      numbers(id, set.flags, set.keyNumber, set.keyBytes, set.valueNumber, set.valueBytes, room ?? set.size)
      data(set.intervalParts)
      blob(set.userData)
    case .deleteSet(let table, let name): head(4, add: false, table, name)
    case .addElements(let table, let set, let elements):
      head(5, add: true, table, set.name)
      list(elements)
    case .deleteElements(let table, let set, let elements):
      head(5, add: false, table, set.name)
      list(elements.map(\.identity))
    }
  }

  private mutating func head(_ kind: UInt8, add: Bool, _ names: String...) {
    u8(kind)
    u8(add ? 1 : 2)
    for name in names { text(name) }
  }

  private mutating func list(_ elements: [Element]) {
    u16(elements.count)
    for element in elements {
      data(element.key.bytes)
      switch element.value {
      case .none: u8(0)
      case .data(let words):
        u8(1)
        data(words.bytes)
      case .verdict(let verdict):
        u8(2)
        encode(verdict)
      case .upTo(let last):
        u8(3)
        data(last.bytes)
      }
    }
  }

  private mutating func encode(_ verdict: Verdict) {
    switch verdict {
    case .drop:
      u32(0)
      text("")
    case .accept:
      u32(1)
      text("")
    case .jump(let chain):
      u32(UInt32(bitPattern: -3))
      text(chain)
    case .goto(let chain):
      u32(UInt32(bitPattern: -4))
      text(chain)
    }
  }

  private mutating func encode(_ instruction: Instruction) {
    switch instruction {
    case .loadMeta(let key, let register):
      u8(1)
      numbers(key, register)
    case .storeMeta(let key, let register):
      u8(2)
      numbers(key, register)
    case .loadPayload(let base, let offset, let length, let register):
      u8(3)
      numbers(register, base, offset, length)
    case .compare(let register, let equal, let bytes):
      u8(4)
      numbers(register, equal ? 0 : 1)
      data(bytes)
    case .mask(let register, let target, let mask):
      u8(5)
      numbers(register, target, UInt32(mask.count))
      data(mask)
      data([UInt8](repeating: 0, count: mask.count))
    case .lookup(let register, let set, let target, let inverted):
      u8(6)
      u32(register)
      u8(target == nil ? 0 : 1)
      u32(target ?? 0)
      text(set)
      u32(inverted ? 1 : 0)
    case .atLeast(let register, let bytes):
      u8(4)
      numbers(register, 5)
      data(bytes)
    case .atMost(let register, let bytes):
      u8(4)
      numbers(register, 3)
      data(bytes)
    case .counterNumber(let register, let modulus, let offset, let random):
      u8(7)
      numbers(register, modulus, random ? 1 : 0, offset)
    case .hash(let source, let length, let register, let modulus, let seed, let offset):
      u8(8)
      numbers(source, register, length, modulus, seed, offset, 0)
    case .value(let register, let bytes):
      u8(9)
      u32(register)
      data(bytes)
    case .verdict(let verdict):
      u8(10)
      u32(Register.verdict)
      encode(verdict)
    default: encodeTail(instruction)
    }
  }

  private mutating func encodeTail(_ instruction: Instruction) {
    switch instruction {
    case .translateDestination(let family, let address, let port):
      u8(11)
      let destination: UInt32 = 1
      numbers(destination, family, address, port)
    case .masquerade: u8(12)
    case .reject(let type, let code):
      u8(13)
      u32(type)
      u8(code)
    case .loadConnection(let key, let register, let direction):
      u8(14)
      numbers(key, register)
      u8(direction ?? 0xff)
    case .loadRoute(let result, let flags, let register):
      u8(15)
      numbers(register, result, flags)
    case .counter: u8(16)
    case .changeSet(let operation, let key, let value, let seconds, let set):
      u8(17)
      numbers(operation, key, value, seconds)
      text(set)
    default: return
    }
  }
}

extension SetDeclaration {
  package var flags: UInt32 {
    let map: UInt32 = value == .none ? 0 : 8
    switch behaviour {
    case .plain, .large: return map
    // Intervals, and of a concatenation.
    case .intervals: return map | 4 | (key.count > 1 ? 0x80 : 0)
    // Timeouts, and elements from rules.
    case .dynamic: return map | 0x10 | 0x20
    }
  }
  package var size: UInt32 {
    if case .dynamic(let size) = behaviour { size } else { 0 }
  }
  /// Bytes of each part, which the kernel asks for where parts may be intervals.
  var intervalParts: [UInt8] { behaviour == .intervals && key.count > 1 ? key.map { UInt8($0.bytes) } : [] }
  package var keyNumber: UInt32 { Self.number(key) }
  package var keyBytes: UInt32 { Self.bytes(key) }

  package var valueNumber: UInt32 {
    switch value {
    case .none: 0
    case .data(let types): Self.number(types)
    case .verdict: 0xffff_ff00
    }
  }

  package var valueBytes: UInt32 {
    if case .data(let types) = value { Self.bytes(types) } else { 0 }
  }

  private static func number(_ types: [DataType]) -> UInt32 { types.reduce(0) { $0 << 6 | $1.number } }

  private static func bytes(_ types: [DataType]) -> UInt32 {
    UInt32(types.count == 1 ? types[0].bytes : types.reduce(0) { $0 + padded($1.bytes) })
  }

  /// What nft keeps beside a set for itself, so that `nft list` can write it as it was declared: rows of type, length
  /// and bytes. 0 and 1 are the byte orders of key and value, 6 tells intervals in values.
  var userData: [UInt8] {
    let keyRow = Self.row(0, Self.byteOrder(key))
    switch value {
    case .none: return keyRow
    case .verdict: return keyRow + Self.row(1, nativeBytes(0)) + Self.row(6, nativeBytes(0))
    case .data(let types): return keyRow + Self.row(1, Self.byteOrder(types)) + Self.row(6, nativeBytes(0))
    }
  }

  private static func row(_ type: UInt8, _ bytes: [UInt8]) -> [UInt8] { [type, UInt8(bytes.count)] + bytes }

  /// 0 unknown or mixed, 1 the machine's, 2 network order.
  private static func byteOrder(_ types: [DataType]) -> [UInt8] {
    guard types.count == 1 else { return nativeBytes(0) }
    switch types[0] {
    case .classID: return nativeBytes(1)
    case .ipv4Address, .ipv6Address, .transport, .port: return nativeBytes(2)
    }
  }
}
