extension Rule {
  /// The rule that these instructions were made of: what `instructions` gives leads back to the same text. Nil where they
  /// are nobody's that speaks this vocabulary.
  package init?(raising code: [Instruction]) {
    var raising = Raising()
    for instruction in code where !raising.isLost { raising.read(instruction) }
    if raising.isLost || !raising.isSettled { return nil }
    self.init(statements: raising.statements)
  }
}

/// Follows what lies in the registers until a statement is complete.
private struct Raising {
  private enum Content {
    case operand(Operand)
    case family
    case connectionStatus
    case connectionState
    case icmpType
    case value([UInt8])
    case found([Operand], map: String)
  }

  var statements: [Statement] = []
  private(set) var isLost = false
  /// By the first byte in the register file.
  private var registers: [Int: Content] = [:]
  private var mask: (byte: Int, bits: [UInt8])?
  private var low: UInt16?
  /// Whose header is read from here on, and which statement says so; headers that are read say it as well.
  private var family: AddressFamily?
  private var familyStatement: Int?

  /// Nothing was begun and left.
  var isSettled: Bool { registers.isEmpty && mask == nil && low == nil }

  mutating func read(_ instruction: Instruction) {
    switch instruction {
    case .loadMeta(let key, let into): put(Self.meta(key), into)
    case .loadPayload(let base, let offset, let length, let into):
      put(payload(base, offset, length), into)
    case .loadConnection(let key, let into, let direction): put(Self.connection(key, direction), into)
    case .loadRoute(let result, let flags, let into): put(Self.route(result, flags), into)
    case .value(let into, let bytes): put(.value(bytes), into)
    case .counterNumber(let into, let modulus, let offset, let random):
      put(
        .operand(random ? .random(modulus: modulus, offset: offset) : .counter(modulus: modulus, offset: offset)), into)
    case .hash(let from, let length, let into, let modulus, let seed, let offset):
      guard let parts = take(from, upTo: Self.byte(from) + Int(length)) else { return }
      put(.operand(.hash(parts, modulus: modulus, seed: seed, offset: offset)), into)
    case .mask(let register, let into, let bits):
      if register != into || mask != nil { return lose() }
      mask = (Self.byte(register), bits)
    case .compare(let register, let equal, let bytes): compare(register, equal, bytes)
    case .atLeast(let register, let bytes), .atMost(let register, let bytes):
      if case .atLeast = instruction {
        bound(register, bytes, isLow: true)
      } else {
        bound(register, bytes, isLow: false)
      }
    default: act(instruction)
    }
  }

  private mutating func act(_ instruction: Instruction) {
    switch instruction {
    case .storeMeta(let key, let from): store(key, from)
    case .lookup(let register, let set, let into, let inverted):
      guard let key = take(register) else { return }
      switch into {
      case nil: statements.append(.matchSet(key, set: set, contained: !inverted))
      case Register.verdict?: statements.append(.verdictMap(key, map: set))
      case let into?: put(.found(key, map: set), into)
      }
    case .verdict(let verdict): statements.append(.verdict(verdict))
    case .translateDestination(let number, let address, _):
      guard let family = Self.family(number),
        case .found(let key, let map)? = registers.removeValue(forKey: Self.byte(address))
      else { return lose() }
      statements.append(.translateDestination(family, key: key, map: map))
    case .masquerade: statements.append(.masquerade)
    case .reject(let type, _): statements.append(type == 1 ? .resetConnection : .refuse)
    case .counter: statements.append(.counter)
    case .changeSet(let operation, let key, let value, let seconds, let set):
      guard let parts = take(key, upTo: Self.byte(value)), let put = take(value), put.count == 1 else { return lose() }
      switch operation {
      case 1: statements.append(.update(map: set, key: parts, seconds: seconds, value: put[0]))
      case 2: statements.append(.forget(map: set, key: parts, value: put[0]))
      default: lose()
      }
    default: lose()
    }
  }

  // MARK: registers

  private mutating func lose() { isLost = true }

  private static func byte(_ register: UInt32) -> Int {
    register < 8 ? (Int(register) - 1) * 16 : (Int(register) - 8) * 4
  }

  private mutating func put(_ content: Content?, _ register: UInt32) {
    guard let content else { return lose() }
    registers[Self.byte(register)] = content
  }

  /// The concatenation that begins in a register and ends where nothing lies, or at a byte.
  private mutating func take(_ register: UInt32, upTo end: Int = Register.fileBytes) -> [Operand]? {
    var byte = Self.byte(register)
    var parts: [Operand] = []
    while byte < end, case .operand(let operand)? = registers[byte] {
      registers[byte] = nil
      parts.append(operand)
      byte += padded(operand.bytes)
    }
    if parts.isEmpty { lose() }
    return parts.isEmpty ? nil : parts
  }

  // MARK: what is loaded

  private static func family(_ number: UInt32) -> AddressFamily? {
    AddressFamily.allCases.first { $0.number == number }
  }

  private static func meta(_ key: UInt32) -> Content? {
    switch key {
    case 2: .operand(.priority)
    case 6: .operand(.inputLink)
    case 7: .operand(.outputLink)
    case 15: .family
    case 16: .operand(.transport)
    default: nil
    }
  }

  private mutating func payload(_ base: UInt32, _ offset: UInt32, _ length: UInt32) -> Content? {
    switch (base, offset, length) {
    case (1, 12, 4), (1, 16, 4): return address(.ipv4, isSource: offset == 12)
    case (1, 8, 16), (1, 24, 16): return address(.ipv6, isSource: offset == 8)
    case (2, 2, 2): return .operand(.destinationPort)
    case (2, 0, 1): return .icmpType
    default: return nil
    }
  }

  private mutating func address(_ wanted: AddressFamily, isSource: Bool) -> Content? {
    if family != wanted { return nil }
    if let said = familyStatement {
      statements.remove(at: said)
      familyStatement = nil
    }
    return .operand(isSource ? .sourceAddress(wanted) : .destinationAddress(wanted))
  }

  private static func connection(_ key: UInt32, _ direction: UInt8?) -> Content? {
    switch (key, direction) {
    case (0, nil): .connectionState
    case (2, nil): .connectionStatus
    case (20, 0?): .operand(.originalDestination(.ipv4))
    case (22, 0?): .operand(.originalDestination(.ipv6))
    case (12, 0?): .operand(.originalDestinationPort)
    default: nil
    }
  }

  private static func route(_ result: UInt32, _ flags: UInt32) -> Content? {
    switch (result, flags) {
    case (3, 1): .operand(.sourceKind)
    case (3, 2): .operand(.destinationKind)
    case (1, 9): .operand(.reversePath)
    default: nil
    }
  }

  // MARK: statements

  private mutating func store(_ key: UInt32, _ register: UInt32) {
    guard key == 2 else { return lose() }
    switch registers.removeValue(forKey: Self.byte(register)) {
    case .value(let bytes)? where bytes.count == 4: statements.append(.setPriority(nativeNumber(bytes[...])))
    case .operand(let operand)?: statements.append(.setPriorityFrom(operand))
    case .found(let key, let map)?: statements.append(.setPriorityFromMap(key, map: map))
    default: lose()
    }
  }

  private mutating func compare(_ register: UInt32, _ equal: Bool, _ bytes: [UInt8]) {
    let byte = Self.byte(register)
    let bits = mask?.bits
    if let mask, mask.byte != byte { return lose() }
    mask = nil
    switch registers.removeValue(forKey: byte) {
    case .family?:
      guard equal, bytes.count == 1, let wanted = Self.family(UInt32(bytes[0])) else { return lose() }
      (family, familyStatement) = (wanted, statements.count)
      statements.append(.family(wanted))
    case .connectionStatus? where !equal && bits == nativeBytes(1 << 5): statements.append(.destinationWasTranslated)
    case .connectionState? where !equal && bits == nativeBytes(6): statements.append(.isKnownConnection)
    case .icmpType?:
      guard equal, let type = bytes.first, [135, 136].contains(type),
        case .match(.transport, equal: true, .transport(58))? = statements.popLast()
      else { return lose() }
      statements.append(.neighbourDiscovery(answer: type == 136))
    case .operand(.destinationPort)?:
      if !equal || bytes.count != 2 { return lose() }
      let port = UInt16(bytes[0]) << 8 | UInt16(bytes[1])
      ports(port...port)
    case .operand(let operand)?:
      guard let literal = Self.literal(operand, bytes, bits) else { return lose() }
      statements.append(.match(operand, equal: equal, literal))
    default: lose()
    }
  }

  private mutating func bound(_ register: UInt32, _ bytes: [UInt8], isLow: Bool) {
    guard case .operand(.destinationPort)? = registers[Self.byte(register)], bytes.count == 2 else { return lose() }
    let port = UInt16(bytes[0]) << 8 | UInt16(bytes[1])
    if isLow {
      low = port
      return
    }
    registers[Self.byte(register)] = nil
    guard let first = low, first <= port else { return lose() }
    low = nil
    ports(first...port)
  }

  private mutating func ports(_ range: ClosedRange<UInt16>) {
    guard case .match(.transport, equal: true, .transport(let number))? = statements.popLast() else { return lose() }
    statements.append(.destinationPorts(transport: number, range))
  }

  private static func literal(_ operand: Operand, _ bytes: [UInt8], _ mask: [UInt8]?) -> Literal? {
    switch operand {
    case .sourceAddress, .destinationAddress, .originalDestination:
      guard let mask else { return .address(bytes) }
      return .prefix(bytes, length: mask.reduce(0) { $0 + $1.nonzeroBitCount })
    case .transport: return bytes.first.map { .transport($0) }
    case .sourceKind, .destinationKind: return bytes == nativeBytes(2) ? .local : nil
    case .inputLink, .outputLink:
      let name = String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
      return .link(bytes.last == 0 || bytes.count == 16 ? name : name + "*")
    case .priority, .reversePath, .counter, .random, .hash: return .number(nativeNumber(bytes[...]))
    case .destinationPort, .originalDestinationPort: return nil
    }
  }
}
