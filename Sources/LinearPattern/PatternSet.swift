/// A set of Unicode scalars: ranges, general categories, both perhaps without regard to case.
struct PatternSet: Hashable, Sendable {
  private(set) var ranges: [ClosedRange<UInt32>] = []
  /// A bit a general category, as `PatternCategory` numbers them.
  private(set) var categories: UInt32 = 0
  /// Classes within the class that say what they leave out.
  private var parts: [PatternSet] = []
  var isNegated = false
  var foldsCase = false
  /// The first 128 scalars, looked up.
  private var asciiLow: UInt64 = 0
  private var asciiHigh: UInt64 = 0

  static let scalarMax: UInt32 = 0x10FFFF

  init(_ ranges: [ClosedRange<UInt32>] = [], isNegated: Bool = false) {
    (self.ranges, self.isNegated) = (ranges, isNegated)
  }

  static let digits = PatternSet([0x30...0x39])
  static let word = PatternSet([0x30...0x39, 0x41...0x5A, 0x5F...0x5F, 0x61...0x7A])
  static let space = PatternSet([0x09...0x0A, 0x0C...0x0D, 0x20...0x20])

  /// The names between `[:` and `:]`.
  static let named: [String: PatternSet] = [
    "alnum": PatternSet([0x30...0x39, 0x41...0x5A, 0x61...0x7A]), "alpha": PatternSet([0x41...0x5A, 0x61...0x7A]),
    "ascii": PatternSet([0...0x7F]), "blank": PatternSet([0x09...0x09, 0x20...0x20]),
    "cntrl": PatternSet([0...0x1F, 0x7F...0x7F]), "digit": digits, "graph": PatternSet([0x21...0x7E]),
    "lower": PatternSet([0x61...0x7A]), "print": PatternSet([0x20...0x7E]),
    "punct": PatternSet([0x21...0x2F, 0x3A...0x40, 0x5B...0x60, 0x7B...0x7E]),
    "space": PatternSet([0x09...0x0D, 0x20...0x20]), "upper": PatternSet([0x41...0x5A]), "word": word,
    "xdigit": PatternSet([0x30...0x39, 0x41...0x46, 0x61...0x66]),
  ]

  mutating func add(_ range: ClosedRange<UInt32>) { ranges.append(range) }

  mutating func add(_ other: PatternSet) {
    if other.isNegated {
      var part = other
      part.foldsCase = foldsCase
      parts.append(part.finished())
    } else {
      ranges += other.ranges
      categories |= other.categories
    }
  }

  mutating func add(categories mask: UInt32) { categories |= mask }

  private static func merged(_ ranges: [ClosedRange<UInt32>]) -> [ClosedRange<UInt32>] {
    var found: [ClosedRange<UInt32>] = []
    for range in ranges.sorted(by: { $0.lowerBound < $1.lowerBound }) {
      if let last = found.last, range.lowerBound <= last.upperBound &+ 1 {
        found[found.count - 1] = last.lowerBound...max(last.upperBound, range.upperBound)
      } else {
        found.append(range)
      }
    }
    return found
  }

  /// Sorted, and with the table of ASCII: ready to be asked.
  func finished() -> PatternSet {
    var set = self
    set.ranges = Self.merged(ranges)
    for scalar in UInt32(0)..<128 where set.looksUp(scalar) {
      if scalar < 64 { set.asciiLow |= 1 << UInt64(scalar) } else { set.asciiHigh |= 1 << UInt64(scalar - 64) }
    }
    return set
  }

  func contains(_ scalar: Unicode.Scalar) -> Bool {
    let value = scalar.value
    if value < 64 { return asciiLow >> UInt64(value) & 1 == 1 }
    if value < 128 { return asciiHigh >> UInt64(value - 64) & 1 == 1 }
    return looksUp(value)
  }

  private func looksUp(_ value: UInt32) -> Bool {
    var isThere = holds(value)
    if !isThere, foldsCase, let scalar = Unicode.Scalar(value) {
      isThere = PatternSet.folds(of: scalar).contains { holds($0.value) }
    }
    return isThere != isNegated
  }

  private func holds(_ value: UInt32) -> Bool {
    if parts.contains(where: { $0.looksUp(value) }) { return true }
    if categories != 0, let scalar = Unicode.Scalar(value),
      categories >> PatternCategory.bit(scalar.properties.generalCategory) & 1 == 1
    {
      return true
    }
    var (low, high) = (0, ranges.count)
    while low < high {
      let middle = (low + high) / 2
      if ranges[middle].upperBound < value { low = middle + 1 } else { high = middle }
    }
    return low < ranges.count && ranges[low].contains(value)
  }

  /// The scalars that are the same but for case, without those that need several.
  static func folds(of scalar: Unicode.Scalar) -> [Unicode.Scalar] {
    func single(_ text: String) -> Unicode.Scalar? {
      text.unicodeScalars.count == 1 ? text.unicodeScalars.first : nil
    }
    let lower = single(scalar.properties.lowercaseMapping) ?? scalar
    let upper = single(scalar.properties.uppercaseMapping) ?? scalar
    var found = [lower, upper]
    if let again = single(upper.properties.lowercaseMapping) { found.append(again) }
    if let title = single(scalar.properties.titlecaseMapping) { found.append(title) }
    // Letters of ASCII with a third form: the Kelvin sign and the long s.
    switch lower {
    case "k": found.append("\u{212A}")
    case "s": found.append("\u{17F}")
    case "\u{E5}": found.append("\u{212B}")
    default: break
    }
    return found
  }
}

/// Unicode's general categories, by the names of `\p`.
enum PatternCategory {
  static let all: UInt32 = 0x3FFF_FFFF

  static let masks: [String: UInt32] = {
    let names = [
      "Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Nd", "Nl", "No", "Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po", "Sm",
      "Sc", "Sk", "So", "Zs", "Zl", "Zp", "Cc", "Cf", "Cs", "Co", "Cn",
    ]
    var masks: [String: UInt32] = ["Any": all]
    for (place, name) in names.enumerated() {
      masks[name] = 1 << UInt32(place)
      masks[String(name.prefix(1)), default: 0] |= 1 << UInt32(place)
    }
    return masks
  }()

  static func bit(_ category: Unicode.GeneralCategory) -> UInt32 {
    switch category {
    case .uppercaseLetter: 0
    case .lowercaseLetter: 1
    case .titlecaseLetter: 2
    case .modifierLetter: 3
    case .otherLetter: 4
    case .nonspacingMark: 5
    case .spacingMark: 6
    case .enclosingMark: 7
    case .decimalNumber: 8
    case .letterNumber: 9
    case .otherNumber: 10
    case .connectorPunctuation: 11
    case .dashPunctuation: 12
    case .openPunctuation: 13
    case .closePunctuation: 14
    case .initialPunctuation: 15
    case .finalPunctuation: 16
    case .otherPunctuation: 17
    case .mathSymbol: 18
    case .currencySymbol: 19
    case .modifierSymbol: 20
    case .otherSymbol: 21
    case .spaceSeparator: 22
    case .lineSeparator: 23
    case .paragraphSeparator: 24
    case .control: 25
    case .format: 26
    case .surrogate: 27
    case .privateUse: 28
    case .unassigned: 29
    @unknown default: 29
    }
  }
}
