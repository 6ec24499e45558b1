package import JSON

/// An amount of a resource: `500m`, `128Mi`, `1.5`, `2e3`.
///
/// Kept as it was written; `value` and `milliValue` round up, as Kubernetes does, and stop at the largest Int64.
package struct Quantity: KubeValue, CustomStringConvertible {
  package let text: String
  /// Thousandths, rounded up.
  private let milli: Int128

  package init() { (text, milli) = ("0", 0) }

  package init?(_ text: String) {
    guard let milli = Self.parse(text) else { return nil }
    (self.text, self.milli) = (text, milli)
  }

  package init(_ value: JSONValue, _ decoder: inout FieldDecoder) {
    self.init()
    let written: String? =
      switch value {
      case .string(let text), .number(let text): text
      case .integer(let number): String(number)
      default: nil
      }
    guard let written else {
      decoder.wrongType(expected: "a quantity such as 500m or 128Mi", found: value)
      return
    }
    if let quantity = Quantity(written) {
      self = quantity
    } else {
      decoder.report(.invalid("\"\(written)\" is not a quantity such as 500m or 128Mi"))
    }
  }

  package var json: JSONValue { .string(text) }
  package var description: String { text }

  /// Whole units, rounded up: bytes, cores, pieces.
  package var value: Int64 { Self.clamp(milli >= 0 ? milli / 1000 + (milli % 1000 > 0 ? 1 : 0) : -(-milli / 1000)) }
  /// Thousandths: millicores.
  package var milliValue: Int64 { Self.clamp(milli) }

  package static func == (left: Self, right: Self) -> Bool { left.milli == right.milli }
  package func hash(into hasher: inout Hasher) { hasher.combine(milli) }

  private static func clamp(_ number: Int128) -> Int64 {
    Int64(clamping: number)
  }

  /// Digits that matter are few; more would overflow what a sum of quantities can hold.
  private static let digitsMax = 27

  private static func parse(_ text: String) -> Int128? {
    var rest = Array(text.utf8)[...]
    var negative = false
    if let first = rest.first, first == UInt8(ascii: "-") || first == UInt8(ascii: "+") {
      negative = first == UInt8(ascii: "-")
      rest = rest.dropFirst()
    }
    let whole = digits(&rest)
    var fraction: [Int128] = []
    if rest.first == UInt8(ascii: ".") {
      rest = rest.dropFirst()
      fraction = digits(&rest)
    }
    guard whole.count + fraction.count > 0, whole.count + fraction.count <= digitsMax else { return nil }
    guard let scale = scale(String(decoding: rest, as: UTF8.self)) else { return nil }
    // (digits × scale × 1000) ÷ 10^fraction, rounded away from zero.
    let mantissa = (whole + fraction).reduce(Int128(0)) { $0 * 10 + $1 }
    guard mantissa != 0 else { return 0 }
    guard let divisor = power(10, fraction.count + scale.down) else { return mantissa == 0 ? 0 : (negative ? 0 : 1) }
    let (up, over) = mantissa.multipliedReportingOverflow(by: scale.up)
    let (thousandths, over2) = up.multipliedReportingOverflow(by: 1000)
    let amount = over || over2 ? Int128.max : thousandths / divisor + (thousandths % divisor == 0 ? 0 : 1)
    return negative ? -amount : amount
  }

  private static func digits(_ rest: inout ArraySlice<UInt8>) -> [Int128] {
    var found: [Int128] = []
    while let byte = rest.first, (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) {
      found.append(Int128(byte - UInt8(ascii: "0")))
      rest = rest.dropFirst()
    }
    return found
  }

  private static func power(_ base: Int128, _ exponent: Int) -> Int128? {
    guard exponent <= 36 else { return nil }
    return (0..<exponent).reduce(1) { product, _ in product * base }
  }

  /// What a suffix multiplies by, and by which power of ten it divides.
  private static func scale(_ suffix: String) -> (up: Int128, down: Int)? {
    switch suffix {
    case "": return (1, 0)
    case "n": return (1, 9)
    case "u": return (1, 6)
    case "m": return (1, 3)
    case "k": return (1_000, 0)
    case "M": return (1_000_000, 0)
    case "G": return (1_000_000_000, 0)
    case "T": return (1_000_000_000_000, 0)
    case "P": return (1_000_000_000_000_000, 0)
    case "E": return (1_000_000_000_000_000_000, 0)
    case "Ki": return (1 << 10, 0)
    case "Mi": return (1 << 20, 0)
    case "Gi": return (1 << 30, 0)
    case "Ti": return (1 << 40, 0)
    case "Pi": return (1 << 50, 0)
    case "Ei": return (1 << 60, 0)
    default:
      guard suffix.first == "e" || suffix.first == "E", let exponent = Int(suffix.dropFirst()) else { return nil }
      guard exponent > 0 else { return (1, min(-exponent, 40)) }
      return power(10, min(exponent, 36)).map { ($0, 0) }
    }
  }
}
