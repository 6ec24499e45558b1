/// One instruction of the kernel's rule machine. Registers count in the kernel's own way (see `Register`).
package enum Instruction: Sendable, Hashable {
  case loadMeta(key: UInt32, into: UInt32)
  case storeMeta(key: UInt32, from: UInt32)
  case loadPayload(base: UInt32, offset: UInt32, length: UInt32, into: UInt32)
  case compare(UInt32, equal: Bool, [UInt8])
  /// Not below these bytes; not above them.
  case atLeast(UInt32, [UInt8])
  case atMost(UInt32, [UInt8])
  case mask(UInt32, into: UInt32, mask: [UInt8])
  case lookup(UInt32, set: String, into: UInt32?, inverted: Bool)
  case counterNumber(into: UInt32, modulus: UInt32, offset: UInt32, random: Bool)
  case hash(UInt32, length: UInt32, into: UInt32, modulus: UInt32, seed: UInt32, offset: UInt32)
  case value(into: UInt32, [UInt8])
  case verdict(Verdict)
  case translateDestination(family: UInt32, address: UInt32, port: UInt32)
  case masquerade
  case reject(type: UInt32, code: UInt8)
  case loadConnection(key: UInt32, into: UInt32, direction: UInt8?)
  case loadRoute(result: UInt32, flags: UInt32, into: UInt32)
  case counter
  case changeSet(operation: UInt32, key: UInt32, value: UInt32, seconds: UInt32, set: String)
}

/// The register file is 64 bytes; registers 1 to 4 name its 16-byte rows, 8 to 23 its 4-byte words.
enum Register {
  static let verdict: UInt32 = 0
  static let fileBytes = 64

  /// As nft writes them, so that `nft list` recognizes a concatenation: a row where one begins, else a word.
  static func at(byte offset: Int) -> UInt32 {
    offset % 16 == 0 ? UInt32(1 + offset / 16) : UInt32(8 + offset / 4)
  }
}

private enum Meta {
  static let priority: UInt32 = 2
  static let inputName: UInt32 = 6
  static let outputName: UInt32 = 7
  static let family: UInt32 = 15
  static let transport: UInt32 = 16
}

extension Rule {
  /// The rule as the kernel runs it: address families are checked before headers of one are read.
  package var instructions: [Instruction] {
    var lowering = Lowering()
    for statement in statements { lowering.lower(statement) }
    return lowering.code
  }
}

private struct Lowering {
  var code: [Instruction] = []
  private var family: AddressFamily?

  mutating func lower(_ statement: Statement) {
    switch statement {
    case .match(let operand, let equal, let literal): match(operand, equal, literal)
    case .matchSet(let key, let set, let contained):
      load(key)
      code.append(.lookup(Register.at(byte: 0), set: set, into: nil, inverted: !contained))
    case .destinationWasTranslated:
      let dnatBit = nativeBytes(1 << 5)
      code.append(.loadConnection(key: 2, into: Register.at(byte: 0), direction: nil))
      code.append(.mask(Register.at(byte: 0), into: Register.at(byte: 0), mask: dnatBit))
      code.append(.compare(Register.at(byte: 0), equal: false, [0, 0, 0, 0]))
    case .isKnownConnection:
      let established: UInt32 = 1 << 1
      let related: UInt32 = 1 << 2
      code.append(.loadConnection(key: 0, into: Register.at(byte: 0), direction: nil))
      code.append(
        .mask(Register.at(byte: 0), into: Register.at(byte: 0), mask: nativeBytes(established | related)))
      code.append(.compare(Register.at(byte: 0), equal: false, [0, 0, 0, 0]))
    case .family(let wanted): requireFamily(wanted)
    case .destinationPorts(let transport, let range): matchPorts(transport, range)
    case .neighbourDiscovery(let answer):
      let icmpv6: UInt8 = 58
      code.append(.loadMeta(key: Meta.transport, into: Register.at(byte: 0)))
      code.append(.compare(Register.at(byte: 0), equal: true, [icmpv6]))
      code.append(.loadPayload(base: 2, offset: 0, length: 1, into: Register.at(byte: 0)))
      code.append(.compare(Register.at(byte: 0), equal: true, [answer ? 136 : 135]))
    case .update(let map, let key, let seconds, let value): change(1, map, key, seconds, value)
    case .forget(let map, let key, let value): change(2, map, key, 0, value)
    case .setPriority(let value):
      code.append(.value(into: Register.at(byte: 0), nativeBytes(value)))
      code.append(.storeMeta(key: Meta.priority, from: Register.at(byte: 0)))
    case .setPriorityFrom(let operand):
      load([operand])
      code.append(.storeMeta(key: Meta.priority, from: Register.at(byte: 0)))
    case .setPriorityFromMap(let key, let map):
      load(key)
      code.append(.lookup(Register.at(byte: 0), set: map, into: Register.at(byte: 0), inverted: false))
      code.append(.storeMeta(key: Meta.priority, from: Register.at(byte: 0)))
    case .verdictMap(let key, let map):
      load(key)
      code.append(.lookup(Register.at(byte: 0), set: map, into: Register.verdict, inverted: false))
    case .translateDestination(let family, let key, let map):
      load(key)
      code.append(.lookup(Register.at(byte: 0), set: map, into: Register.at(byte: 0), inverted: false))
      code.append(
        .translateDestination(
          family: family.number, address: Register.at(byte: 0), port: Register.at(byte: family.addressBytes)))
    case .masquerade: code.append(.masquerade)
    case .resetConnection: code.append(.reject(type: 1, code: 0))
    case .refuse: code.append(.reject(type: 2, code: 1))
    case .counter: code.append(.counter)
    case .verdict(let verdict): code.append(.verdict(verdict))
    case .foreign(let what): preconditionFailure("a rule of \(what) is somebody else's")
    }
  }

  private mutating func matchPorts(_ transport: UInt8, _ range: ClosedRange<UInt16>?) {
    let register = Register.at(byte: 0)
    code.append(.loadMeta(key: Meta.transport, into: register))
    code.append(.compare(register, equal: true, [transport]))
    guard let range else { return }
    code.append(.loadPayload(base: 2, offset: 2, length: 2, into: register))
    func bytes(_ port: UInt16) -> [UInt8] { [UInt8(port >> 8), UInt8(port & 0xff)] }
    if range.count == 1 {
      code.append(.compare(register, equal: true, bytes(range.lowerBound)))
    } else {
      code.append(.atLeast(register, bytes(range.lowerBound)))
      code.append(.atMost(register, bytes(range.upperBound)))
    }
  }

  private mutating func change(
    _ operation: UInt32, _ map: String, _ key: [Operand], _ seconds: UInt32, _ value: Operand
  ) {
    load(key)
    // The value lies in the first row behind the key, where nft puts it too.
    let end = (key.reduce(0) { $0 + padded($1.bytes) } + 15) & ~15
    load(value, at: end, free: end + 16)
    code.append(
      .changeSet(
        operation: operation, key: Register.at(byte: 0), value: Register.at(byte: end), seconds: seconds, set: map))
  }

  private mutating func match(_ operand: Operand, _ equal: Bool, _ literal: Literal) {
    load([operand])
    let register = Register.at(byte: 0)
    switch literal {
    case .address(let bytes): code.append(.compare(register, equal: equal, bytes))
    case .prefix(let bytes, let length):
      let mask = (0..<bytes.count).map { index in
        let bits = min(max(length - index * 8, 0), 8)
        return bits == 0 ? 0 : UInt8(truncatingIfNeeded: 0xff << (8 - bits))
      }
      if length < bytes.count * 8 { code.append(.mask(register, into: register, mask: mask)) }
      code.append(.compare(register, equal: equal, bytes))
    case .transport(let number): code.append(.compare(register, equal: equal, [number]))
    case .local: code.append(.compare(register, equal: equal, nativeBytes(2)))
    case .number(let number): code.append(.compare(register, equal: equal, nativeBytes(number)))
    case .link(let name):
      // A shorter comparison is how the kernel matches the beginning of a name.
      var bytes = Array(name.utf8)
      if bytes.last == UInt8(ascii: "*") {
        bytes.removeLast()
      } else {
        bytes += [UInt8](repeating: 0, count: max(16 - bytes.count, 0))
      }
      code.append(.compare(register, equal: equal, bytes))
    }
  }

  /// Loads a concatenation from the beginning of the register file.
  private mutating func load(_ key: [Operand]) {
    for operand in key { require(operand) }
    var offset = 0
    let whole = key.reduce(0) { $0 + padded($1.bytes) }
    for operand in key {
      load(operand, at: offset, free: (whole + 15) & ~15)
      offset += padded(operand.bytes)
    }
    precondition(whole <= Register.fileBytes, "a key of \(whole) bytes does not fit the registers")
  }

  /// A table of family inet sees both: what reads one family's header is for that family's packets.
  private mutating func require(_ operand: Operand) {
    switch operand {
    case .sourceAddress(let wanted), .destinationAddress(let wanted):
      requireFamily(wanted)
    case .hash(let operands, _, _, _): for operand in operands { require(operand) }
    default: return
    }
  }

  private mutating func requireFamily(_ wanted: AddressFamily) {
    if family == wanted { return }
    family = wanted
    code.append(.loadMeta(key: Meta.family, into: Register.at(byte: 0)))
    code.append(.compare(Register.at(byte: 0), equal: true, [UInt8(wanted.number)]))
  }

  /// - Parameter free: first byte of the register file that nothing of the key lies behind.
  private mutating func load(_ operand: Operand, at offset: Int, free: Int) {
    let register = Register.at(byte: offset)
    switch operand {
    case .sourceAddress(let family):
      let position: UInt32 = family == .ipv4 ? 12 : 8
      code.append(.loadPayload(base: 1, offset: position, length: UInt32(family.addressBytes), into: register))
    case .destinationAddress(let family):
      let position: UInt32 = family == .ipv4 ? 16 : 24
      code.append(.loadPayload(base: 1, offset: position, length: UInt32(family.addressBytes), into: register))
    case .transport: code.append(.loadMeta(key: Meta.transport, into: register))
    case .destinationPort: code.append(.loadPayload(base: 2, offset: 2, length: 2, into: register))
    case .priority: code.append(.loadMeta(key: Meta.priority, into: register))
    case .originalDestination(let family):
      code.append(.loadConnection(key: family == .ipv4 ? 20 : 22, into: register, direction: 0))
    case .originalDestinationPort: code.append(.loadConnection(key: 12, into: register, direction: 0))
    case .sourceKind: code.append(.loadRoute(result: 3, flags: 1, into: register))
    case .destinationKind: code.append(.loadRoute(result: 3, flags: 2, into: register))
    case .reversePath: code.append(.loadRoute(result: 1, flags: 1 | 8, into: register))
    case .inputLink: code.append(.loadMeta(key: Meta.inputName, into: register))
    case .outputLink: code.append(.loadMeta(key: Meta.outputName, into: register))
    case .counter(let modulus, let offset):
      code.append(.counterNumber(into: register, modulus: modulus, offset: offset, random: false))
    case .random(let modulus, let offset):
      code.append(.counterNumber(into: register, modulus: modulus, offset: offset, random: true))
    case .hash(let operands, let modulus, let seed, let offset):
      var inner = free
      for operand in operands {
        load(operand, at: inner, free: free)
        inner += padded(operand.bytes)
      }
      precondition(inner <= Register.fileBytes, "hashing \(inner) bytes does not fit the registers")
      code.append(
        .hash(
          Register.at(byte: free), length: UInt32(inner - free), into: register, modulus: modulus, seed: seed,
          offset: offset))
    }
  }
}

extension Operand {
  /// In a register.
  var bytes: Int {
    switch self {
    case .sourceAddress(let family), .destinationAddress(let family), .originalDestination(let family):
      family.addressBytes
    case .transport: 1
    case .destinationPort, .originalDestinationPort: 2
    case .inputLink, .outputLink: 16
    case .priority, .sourceKind, .destinationKind, .reversePath, .counter, .random, .hash: 4
    }
  }
}
