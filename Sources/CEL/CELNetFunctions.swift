/// Addresses, networks and URLs.
enum CELNetFunctions {
  private static func parsed<Value: Sendable>(
    _ words: String, _ read: @escaping @Sendable (String) -> Value?, _ wrap: @escaping @Sendable (Value) -> CELValue,
    _ type: String
  ) -> CELFunction {
    CELFunction(1, .named(type)) { values, run throws(CELProblem) in
      guard let text = values[0].string else { return nil }
      try run.spend(text: text.utf8.count)
      guard let value = read(text) else { throw .evaluation("\(words) \"\(text)\" parse error during conversion") }
      return wrap(value)
    }
  }

  private static func test(_ check: @escaping @Sendable (String) -> Bool) -> CELFunction {
    CELFunction(1, .bool) { values, run throws(CELProblem) in
      guard let text = values[0].string else { return nil }
      try run.spend(text: text.utf8.count)
      return .bool(check(text))
    }
  }

  static let functions: [String: CELFunction] = [
    "ip": parsed("IP Address", { CELAddress($0) }, { .ip($0) }, "net.IP"), "isIP": test { CELAddress($0) != nil },
    "ip.isCanonical": CELFunction(1, .bool) { values, _ throws(CELProblem) in
      guard let text = values[0].string else { return nil }
      guard let address = CELAddress(text) else {
        throw .evaluation("IP Address \"\(text)\" parse error during conversion")
      }
      return .bool(address.text == text)
    },
    "cidr": parsed("network address", { CELNetwork($0) }, { .cidr($0) }, "net.CIDR"),
    "isCIDR": test { CELNetwork($0) != nil },
    "url": parsed("URL", { CELURL($0) }, { .url($0) }, "kubernetes.URL"), "isURL": test { CELURL($0) != nil },
  ]

  private static func address(
    _ result: CELType, _ get: @escaping @Sendable (CELAddress) -> CELValue
  ) -> CELFunction {
    CELFunction(1, result, on: ["net.IP"]) { values, _ throws(CELProblem) in
      if case .ip(let address) = values[0] { return get(address) }
      return nil
    }
  }

  private static func url(_ result: CELType = .string, _ get: @escaping @Sendable (CELURL) -> CELValue) -> CELFunction {
    CELFunction(1, result, on: ["kubernetes.URL"]) { values, _ throws(CELProblem) in
      if case .url(let url) = values[0] { return get(url) }
      return nil
    }
  }

  private static func network(_ result: CELType, _ get: @escaping @Sendable (CELNetwork) -> CELValue) -> CELFunction {
    CELFunction(1, result, on: ["net.CIDR"]) { values, _ throws(CELProblem) in
      if case .cidr(let network) = values[0] { return get(network) }
      return nil
    }
  }

  static let methods: [String: CELFunction] = [
    "family": address(.int) { .int(Int64($0.family)) }, "isUnspecified": address(.bool) { .bool($0.isUnspecified) },
    "isLoopback": address(.bool) { .bool($0.isLoopback) },
    "isLinkLocalMulticast": address(.bool) { .bool($0.isLinkLocalMulticast) },
    "isLinkLocalUnicast": address(.bool) { .bool($0.isLinkLocalUnicast) },
    "isGlobalUnicast": address(.bool) { .bool($0.isGlobalUnicast) },
    "ip": network(.named("net.IP")) { .ip($0.address) }, "masked": network(.named("net.CIDR")) { .cidr($0.masked) },
    "prefixLength": network(.int) { .int(Int64($0.prefix)) },
    "containsIP": CELFunction(2, .bool, on: ["net.CIDR"]) { values, _ throws(CELProblem) in
      guard case .cidr(let network) = values[0] else { return nil }
      switch values[1] {
      case .ip(let address): return .bool(network.contains(address))
      case .string(let text):
        guard let address = CELAddress(text) else {
          throw .evaluation("IP Address \"\(text)\" parse error during conversion")
        }
        return .bool(network.contains(address))
      default: return nil
      }
    },
    "containsCIDR": CELFunction(2, .bool, on: ["net.CIDR"]) { values, _ throws(CELProblem) in
      guard case .cidr(let network) = values[0] else { return nil }
      switch values[1] {
      case .cidr(let other): return .bool(network.contains(other))
      case .string(let text):
        guard let other = CELNetwork(text) else {
          throw .evaluation("network address \"\(text)\" parse error during conversion")
        }
        return .bool(network.contains(other))
      default: return nil
      }
    },
    "getScheme": url { .string($0.scheme) }, "getHost": url { .string($0.host) },
    "getHostname": url { .string($0.hostname) }, "getPort": url { .string($0.port) },
    "getEscapedPath": url { .string(CELURL.escapedPath($0.path)) },
    "getQuery": url(.map(.list(.string))) { url in
      var map = CELMap()
      for part in url.query.split(separator: "&") {
        let pair = part.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map {
          CELURL.unescaped(String($0))
        }
        var values: [CELValue] = []
        if case .list(let known)? = map[pair[0]] { values = known }
        map[pair[0]] = .list(values + [.string(pair.count > 1 ? pair[1] : "")])
      }
      return .map(map)
    },
  ]
}

/// Quantities of Kubernetes.
enum CELQuantities {
  static let functions: [String: CELFunction] = [
    "quantity": CELFunction(1, .named("kubernetes.Quantity")) { values, _ throws(CELProblem) in
      guard let text = values[0].string else { return nil }
      guard let quantity = CELQuantity(text) else {
        throw .evaluation("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")
      }
      return .quantity(quantity)
    },
    "isQuantity": CELFunction(1, .bool) { values, _ throws(CELProblem) in
      values[0].string.map { .bool(CELQuantity($0) != nil) }
    },
  ]

  private static func both(
    _ result: CELType, _ get: @escaping @Sendable (CELQuantity, CELQuantity) -> CELValue
  ) -> CELFunction {
    CELFunction(2, result, on: ["kubernetes.Quantity"]) { values, _ throws(CELProblem) in
      guard case .quantity(let one) = values[0], case .quantity(let two) = values[1] else { return nil }
      return get(one, two)
    }
  }

  private static func combined(_ sign: Int128) -> CELFunction {
    CELFunction(2, .named("kubernetes.Quantity"), on: ["kubernetes.Quantity"]) { values, _ throws(CELProblem) in
      guard case .quantity(let one) = values[0] else { return nil }
      switch values[1] {
      case .quantity(let two): return .quantity(CELQuantity(nanos: one.nanos + sign * two.nanos))
      case .int(let two): return .quantity(CELQuantity(nanos: one.nanos + sign * Int128(two) * CELQuantity.one))
      default: return nil
      }
    }
  }

  private static func one(_ result: CELType, _ get: @escaping @Sendable (CELQuantity) -> CELValue?) -> CELFunction {
    CELFunction(1, result, on: ["kubernetes.Quantity"]) { values, _ throws(CELProblem) in
      guard case .quantity(let quantity) = values[0] else { return nil }
      guard let value = get(quantity) else { throw .evaluation("cannot convert value to integer") }
      return value
    }
  }

  static let methods: [String: CELFunction] = [
    "sign": one(.int) { .int(Int64($0.nanos.signum())) }, "isInteger": one(.bool) { .bool($0.integer != nil) },
    "asInteger": one(.int) { $0.integer.map { .int($0) } }, "asApproximateFloat": one(.double) { .double($0.double) },
    "isGreaterThan": both(.bool) { .bool($0 > $1) }, "isLessThan": both(.bool) { .bool($0 < $1) },
    "compareTo": both(.int) { .int($0 < $1 ? -1 : $0 == $1 ? 0 : 1) }, "add": combined(1), "sub": combined(-1),
  ]
}
