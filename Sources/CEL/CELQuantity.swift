/// `500m`, `1.5Gi`: in units of a thousand-millionth, which is as small as quantities go.
package struct CELQuantity: Hashable, Comparable, Sendable {
  let nanos: Int128

  static let one: Int128 = 1_000_000_000
  /// 2⁶³−1 and what is beyond it is not told apart.
  private static let most = Int128(Int64.max) * one

  package static func < (left: CELQuantity, right: CELQuantity) -> Bool { left.nanos < right.nanos }

  init(nanos: Int128) { self.nanos = nanos }

  private static let suffixes: [String: (base: Int128, exponent: Int)] = [
    "n": (10, -9), "u": (10, -6), "m": (10, -3), "": (10, 0), "k": (10, 3), "M": (10, 6), "G": (10, 9), "T": (10, 12),
    "P": (10, 15), "E": (10, 18), "Ki": (2, 10), "Mi": (2, 20), "Gi": (2, 30), "Ti": (2, 40), "Pi": (2, 50),
    "Ei": (2, 60),
  ]
  /// Digits of a number.
  private static let digitsMax = 30

  package init?(_ text: String) {
    var rest = Substring(text)
    let isNegative = rest.hasPrefix("-")
    if isNegative || rest.hasPrefix("+") { rest.removeFirst() }
    let digits = rest.prefix { $0 == "." || ("0"..."9").contains($0) }
    var suffix = String(rest[digits.endIndex...])
    let parts = digits.split(separator: ".", omittingEmptySubsequences: false)
    guard digits.contains(where: { $0 != "." }), parts.count <= 2, digits.count <= Self.digitsMax else { return nil }
    var scale: (base: Int128, exponent: Int)
    if let first = suffix.first, first == "e" || first == "E", suffix.count > 1 {
      suffix.removeFirst()
      guard let exponent = Int(suffix), (-30...30).contains(exponent) else { return nil }
      scale = (10, exponent)
    } else {
      guard let known = Self.suffixes[suffix] else { return nil }
      scale = known
    }
    let fraction = parts.count > 1 ? String(parts[1]) : ""
    guard let value = Int128(String(parts[0]) + fraction) else { return nil }
    guard let nanos = Self.scaled(value, fraction.count, scale) else { return nil }
    self.nanos = isNegative ? -nanos : nanos
  }

  /// Rounded up to the next thousand-millionth, and held to the largest quantity.
  private static func scaled(_ value: Int128, _ digits: Int, _ scale: (base: Int128, exponent: Int)) -> Int128? {
    var value = value
    var tens = 9 - digits
    if scale.base == 10 {
      tens += scale.exponent
    } else {
      for _ in 0..<scale.exponent {
        let (next, overflow) = value.multipliedReportingOverflow(by: 2)
        if overflow { return most }
        value = next
      }
    }
    while tens > 0 {
      let (next, overflow) = value.multipliedReportingOverflow(by: 10)
      if overflow { return most }
      value = next
      tens -= 1
    }
    while tens < 0 {
      value = value / 10 + (value % 10 == 0 ? 0 : 1)
      tens += 1
    }
    return min(value, most)
  }

  var integer: Int64? { nanos % Self.one == 0 ? Int64(exactly: nanos / Self.one) : nil }
  var double: Double { Double(nanos) / Double(Self.one) }
}
