/// Values as text.
enum CELText {
  /// `string(value)`; nil for what has no text.
  static func converted(_ value: CELValue) throws(CELProblem) -> String? {
    switch value {
    case .string(let text): return text
    case .bool(let value): return value ? "true" : "false"
    case .int(let value): return "\(value)"
    case .uint(let value): return "\(value)"
    case .double(let value): return number(value)
    case .bytes(let bytes):
      guard let text = String(validating: bytes, as: UTF8.self) else {
        throw .evaluation("invalid UTF-8 in bytes, cannot convert to string")
      }
      return text
    case .timestamp(let time): return time.text
    case .duration(let duration): return duration.text
    case .ip(let address): return address.text
    case .cidr(let network): return network.text
    default: return nil
    }
  }

  /// As short as it can be: `1`, `0.5`, `1e+21`.
  static func number(_ value: Double) -> String {
    if value.isNaN { return "NaN" }
    if value.isInfinite { return value < 0 ? "-Inf" : "+Inf" }
    if let whole = Int64(exactly: value), abs(value) < 1e21 { return "\(whole)" }
    return "\(value)"
  }

  /// For messages and `format`.
  static func shown(_ value: CELValue) -> String {
    switch value {
    case .null: "null"
    case .list(let items): "[\(items.map(shown).joined(separator: ", "))]"
    case .map(let map):
      "{\(zip(map.keys, map.values).map { "\(shown($0)): \(shown($1))" }.sorted().joined(separator: ", "))}"
    case .type(let name): name
    case .optional(let inner): inner.map { "optional(\(shown($0)))" } ?? "optional.none()"
    case .url(let url): url.source
    case .quantity(let quantity): number(quantity.double)
    default: (try? converted(value)) ?? value.typeName
    }
  }
}
