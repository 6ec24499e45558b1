internal import Kernel
internal import NFT

extension Instruction {
  /// What the kernel lists, by its own numbers of attributes; nil for what no rule of ours has.
  init?(_ listed: NftExpression) {
    func number(_ attribute: Int) -> UInt32 { listed.number(attribute) ?? 0 }
    switch listed.name {
    case "meta":
      if let into = listed.number(1) {
        self = .loadMeta(key: number(2), into: into)
      } else {
        self = .storeMeta(key: number(2), from: number(3))
      }
    case "payload":
      guard let into = listed.number(1) else { return nil }
      self = .loadPayload(base: number(2), offset: number(3), length: number(4), into: into)
    case "cmp":
      guard let data = listed.data(3) else { return nil }
      switch number(2) {
      case 0: self = .compare(number(1), equal: true, data)
      case 1: self = .compare(number(1), equal: false, data)
      case 3: self = .atMost(number(1), data)
      case 5: self = .atLeast(number(1), data)
      default: return nil
      }
    case "bitwise":
      guard let mask = listed.data(4), listed.data(5)?.allSatisfy({ $0 == 0 }) == true else { return nil }
      self = .mask(number(1), into: number(2), mask: mask)
    case "lookup":
      guard let set = listed.text(1) else { return nil }
      self = .lookup(number(2), set: set, into: listed.number(3), inverted: number(5) & 1 != 0)
    case "numgen":
      self = .counterNumber(into: number(1), modulus: number(2), offset: number(4), random: number(3) == 1)
    case "hash":
      if number(7) != 0 { return nil }
      self = .hash(
        number(1), length: number(3), into: number(2), modulus: number(4), seed: number(5), offset: number(6))
    case "immediate":
      if let (code, chain) = listed.verdict(2) {
        guard let verdict = Verdict(code: code, chain: chain) else { return nil }
        self = .verdict(verdict)
      } else if let data = listed.data(2) {
        self = .value(into: number(1), data)
      } else {
        return nil
      }
    default:
      guard let action = Instruction(action: listed) else { return nil }
      self = action
    }
  }

  private init?(action listed: NftExpression) {
    func number(_ attribute: Int) -> UInt32 { listed.number(attribute) ?? 0 }
    switch listed.name {
    case "nat":
      if number(1) != 1 { return nil }
      self = .translateDestination(family: number(2), address: number(3), port: number(5))
    case "masq": self = .masquerade
    case "reject": self = .reject(type: number(1), code: listed.bytes(2)?.first ?? 0)
    case "ct":
      guard let into = listed.number(1) else { return nil }
      self = .loadConnection(key: number(2), into: into, direction: listed.bytes(3)?.first)
    case "fib": self = .loadRoute(result: number(2), flags: number(3), into: number(1))
    case "counter": self = .counter
    case "dynset":
      guard let set = listed.text(1) else { return nil }
      let milliseconds = listed.bytes(6)?.reduce(UInt64(0)) { $0 << 8 | UInt64($1) } ?? 0
      self = .changeSet(
        operation: number(3), key: number(4), value: number(5), seconds: UInt32(clamping: milliseconds / 1000), set: set
      )
    default: return nil
    }
  }
}

extension Verdict {
  /// By the kernel's code; nil for what no rule of ours says.
  init?(code: Int32, chain: String) {
    switch code {
    case 0: self = .drop
    case 1: self = .accept
    case -3: self = .jump(chain)
    case -4: self = .goto(chain)
    default: return nil
    }
  }
}

extension Rule {
  /// From the expressions that the kernel lists; what no rule of ours has is told by its name.
  init(listed: [UInt8]) {
    let expressions = NftExpression.list(listed)
    var code: [Instruction] = []
    for expression in expressions {
      guard let instruction = Instruction(expression) else {
        self.init(.foreign("expression \(expression.name)"))
        return
      }
      code.append(instruction)
    }
    self = Rule(raising: code) ?? Rule(.foreign(expressions.map(\.name).joined(separator: ", ")))
  }
}
