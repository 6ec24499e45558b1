package import JSON

extension Schema {
  /// The value as programs with structs for its types would keep it: without the fields that the type does not have,
  /// without null, and without zeros and empty lists and maps where those mean the same as an absent field. Quantities
  /// get their canonical form (`0.5` becomes `500m`, `1024Mi` becomes `1Gi`). What is of a wrong type stays: see `check`.
  package func pruned(_ value: JSONValue, as type: SchemaType) -> JSONValue { pruned(value, type.valueType, type) }

  /// - Parameter leaf: the type of the objects that the value holds.
  private func pruned(_ value: JSONValue, _ valueType: SchemaValueType, _ leaf: SchemaType?) -> JSONValue {
    switch (valueType, value) {
    case (.object, .object(let object)): return leaf.map { .object(pruned(object, $0)) } ?? value
    case (.list(let item), .array(let items)):
      return .array(items.map { $0.isNull ? Self.zero(item) : pruned($0, item, leaf) })
    case (.map(let member), .object(let object)):
      var kept = JSONObject()
      kept.reserveCapacity(object.count)
      for (key, inner) in object.members { kept[key] = inner.isNull ? Self.zero(member) : pruned(inner, member, leaf) }
      return .object(kept)
    case (.quantity, .string(let text)), (.quantity, .number(let text)):
      return .string(CanonicalQuantity.text(text) ?? text)
    case (.quantity, .integer(let number)):
      let text = String(number)
      return .string(CanonicalQuantity.text(text) ?? text)
    default: return value
    }
  }

  private func pruned(_ object: JSONObject, _ type: SchemaType) -> JSONObject {
    var kept = JSONObject()
    kept.reserveCapacity(object.count)
    for (key, member) in object.members {
      guard let field = type.fields[key], !member.isNull else { continue }
      let inner = pruned(member, field.valueType, leaf(field))
      if field.zero == .absent, Self.isZero(inner, field.valueType) { continue }
      kept[key] = inner
    }
    return kept
  }

  /// What a null item stands for.
  static func zero(_ type: SchemaValueType) -> JSONValue {
    switch type {
    case .string, .bytes: ""
    case .bool: false
    case .int32, .int64, .double, .intOrString: 0
    case .quantity: "0"
    case .object: .object(JSONObject())
    case .any, .fieldsV1, .time, .microTime, .list, .map: .null
    }
  }

  /// Whether a value means the same as an absent field, where the field cannot tell the two apart.
  static func isZero(_ value: JSONValue, _ type: SchemaValueType) -> Bool {
    switch (type, value) {
    case (.string, .string(let text)), (.bytes, .string(let text)): text.isEmpty
    case (.bool, .bool(let truth)): !truth
    case (.int32, .integer(let number)), (.int64, .integer(let number)), (.double, .integer(let number)): number == 0
    case (.list, .array(let items)): items.isEmpty
    case (.map, .object(let object)): object.isEmpty
    default: false
    }
  }
}

/// The one way in which Kubernetes writes an amount.
///
/// An amount keeps its family of suffixes: powers of 1024, powers of 1000, or an exponent. Nothing smaller than a
/// billionth is kept; it is rounded up.
enum CanonicalQuantity {
  /// Nil for what is no quantity or too large to be counted here.
  static func text(_ text: String) -> String? {
    guard QuantityCheck.problem(text) == nil, let amount = Amount(text) else { return nil }
    switch amount.family {
    case .binary where amount.nano.magnitude >= 1024 * billion: return binary(amount.nano)
    case .exponent: return decimal(amount.nano) { $0 == 0 ? "" : "e\($0)" }
    case .binary, .decimal: return decimal(amount.nano) { decimalSuffixes[$0] ?? "" }
    }
  }

  private static let billion: UInt128 = 1_000_000_000
  private static let decimalSuffixes = [
    -9: "n", -6: "u", -3: "m", 0: "", 3: "k", 6: "M", 9: "G", 12: "T", 15: "P", 18: "E",
  ]

  private enum Family { case binary, decimal, exponent }

  private struct Amount {
    let nano: Int128
    let family: Family

    init?(_ text: String) {
      var rest = text.utf8[...]
      let negative = rest.first == UInt8(ascii: "-")
      if negative || rest.first == UInt8(ascii: "+") { rest = rest.dropFirst() }
      var (digits, fraction, inFraction): (Int128, Int, Bool) = (0, 0, false)
      while let byte = rest.first, byte == UInt8(ascii: ".") || (48...57).contains(byte) {
        rest = rest.dropFirst()
        if byte == UInt8(ascii: ".") {
          inFraction = true
          continue
        }
        // 26 digits and the factors below stay within 128 bits.
        guard digits < 100_000_000_000_000_000_000_000_000 else { return nil }
        digits = digits * 10 + Int128(byte - 48)
        if inFraction { fraction += 1 }
      }
      guard let scale = Self.scale(String(rest) ?? "") else { return nil }
      let (up, over) = digits.multipliedReportingOverflow(by: scale.factor)
      let power = 9 + scale.power - fraction
      guard !over, let amount = Self.shifted(up, by: power) else { return nil }
      nano = negative ? -amount : amount
      family = scale.family
    }

    /// `number` times ten to `power`, rounded up.
    private static func shifted(_ number: Int128, by power: Int) -> Int128? {
      var number = number
      for _ in 0..<max(0, min(power, 40)) {
        let (product, over) = number.multipliedReportingOverflow(by: 10)
        guard !over else { return nil }
        number = product
      }
      guard power < 0 else { return number }
      var rounds = false
      for _ in 0..<min(-power, 60) {
        if number % 10 != 0 { rounds = true }
        number /= 10
      }
      return rounds ? number + 1 : number
    }

    private static func scale(_ suffix: String) -> (factor: Int128, power: Int, family: Family)? {
      let binary = ["Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60]
      if let shift = binary[suffix] { return (1 << Int128(shift), 0, .binary) }
      if let power = decimalSuffixes.first(where: { $0.value == suffix })?.key { return (1, power, .decimal) }
      guard let exponent = Int(suffix.dropFirst()), abs(exponent) <= 40 else { return nil }
      return (1, exponent, .exponent)
    }
  }

  private static func binary(_ nano: Int128) -> String {
    let whole = nano.magnitude / billion + (nano.magnitude % billion == 0 ? 0 : 1)
    var (number, power) = (whole, 0)
    while number % 1024 == 0, power < 6 { (number, power) = (number / 1024, power + 1) }
    return (nano < 0 ? "-" : "") + "\(number)" + ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"][power]
  }

  private static func decimal(_ nano: Int128, _ suffix: (Int) -> String) -> String {
    guard nano != 0 else { return "0" }
    var (number, power) = (nano, -9)
    while number % 1000 == 0, power < 18 { (number, power) = (number / 1000, power + 3) }
    return "\(number)\(suffix(power))"
  }
}
