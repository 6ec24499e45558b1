/// The forms in which objects travel.
package enum Encoding: Hashable, Sendable {
  case json
  case yaml
  case protobuf

  package var mediaType: String {
    switch self {
    case .json: "application/json"
    case .yaml: "application/yaml"
    case .protobuf: "application/vnd.kubernetes.protobuf"
    }
  }

  static let accepted = ["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"]

  init?(mediaType: String) {
    switch mediaType {
    case "application/json": self = .json
    case "application/yaml", "application/x-yaml", "text/yaml": self = .yaml
    case "application/vnd.kubernetes.protobuf": self = .protobuf
    default: return nil
    }
  }
}

/// A media type with its parameters, as a header names it.
package struct MediaType: Hashable, Sendable {
  package var type: String
  package var parameters: [String: String]

  package init(_ text: some StringProtocol) {
    let parts = text.split(separator: ";", omittingEmptySubsequences: true).map { trimmed($0) }
    type = (parts.first ?? "").lowercased()
    parameters = [:]
    for part in parts.dropFirst() {
      let pair = part.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      guard pair.count == 2 else { continue }
      var value = trimmed(pair[1])
      if value.count >= 2, value.hasPrefix("\""), value.hasSuffix("\"") { value = String(value.dropFirst().dropLast()) }
      parameters[trimmed(pair[0]).lowercased()] = value
    }
  }
}

/// Without the blanks at both ends.
func trimmed(_ text: some StringProtocol) -> String {
  var rest = Substring(text)
  while let first = rest.first, first == " " || first == "\t" { rest.removeFirst() }
  while let last = rest.last, last == " " || last == "\t" { rest.removeLast() }
  return String(rest)
}

/// In what form an answer is wanted: https://kubernetes.io/docs/reference/using-api/api-concepts/#content-type-negotiation
package struct Negotiated: Hashable, Sendable {
  /// What stands in the place of the objects.
  package enum Form: Hashable, Sendable {
    case object
    /// `as=Table;g=meta.k8s.io;v=…`
    case table(version: String)
    /// `as=PartialObjectMetadata` and its list.
    case metadata(version: String)
  }

  package var encoding: Encoding
  package var form: Form
  package var isPretty = false

  package init(encoding: Encoding = .json, form: Form = .object, isPretty: Bool = false) {
    self.encoding = encoding
    self.form = form
    self.isPretty = isPretty
  }

  /// The objects themselves, in protobuf.
  package var isPlainProtobuf: Bool { encoding == .protobuf && form == .object }

  /// Bounds the work that a header can ask for, in media ranges.
  private static let rangesMax = 32

  /// Chooses the first range that can be served, by quality and then in order.
  /// - Parameter accept: the header; nil and empty mean JSON.
  /// - Parameter isWatch: watches are served as JSON and protobuf.
  /// - Throws: `NotAcceptable`.
  package init(accept: String?, isWatch: Bool = false, allowsForms: Bool = true) throws(APIStatus) {
    guard let accept, !accept.isEmpty else {
      self.init()
      return
    }
    var ranges: [(quality: Double, type: MediaType)] = []
    for text in accept.split(separator: ",").prefix(Self.rangesMax) {
      let type = MediaType(text)
      let quality = type.parameters["q"].flatMap { Double($0) } ?? 1
      if quality > 0 { ranges.append((quality, type)) }
    }
    // Stable: equal qualities keep their order.
    let ordered = ranges.enumerated().sorted {
      $0.element.quality != $1.element.quality ? $0.element.quality > $1.element.quality : $0.offset < $1.offset
    }
    for (_, range) in ordered {
      if let found = Self.choice(range.type, isWatch: isWatch, allowsForms: allowsForms) {
        self = found
        return
      }
    }
    throw .notAcceptable(Encoding.accepted)
  }

  private static func choice(_ type: MediaType, isWatch: Bool, allowsForms: Bool) -> Negotiated? {
    let encoding: Encoding
    switch type.type {
    case "*/*", "application/*": encoding = .json
    default:
      guard let named = Encoding(mediaType: type.type) else { return nil }
      encoding = named
    }
    if let stream = type.parameters["stream"], stream != "watch" || !isWatch { return nil }
    if isWatch, encoding == .yaml { return nil }
    var result = Negotiated(encoding: encoding)
    result.isPretty = type.parameters["pretty"] == "1"
    guard let form = type.parameters["as"] else { return result }
    guard allowsForms, type.parameters["g"] == "meta.k8s.io", let version = type.parameters["v"],
      version == "v1" || version == "v1beta1"
    else { return nil }
    switch form {
    case "Table" where encoding != .protobuf: result.form = .table(version: version)
    case "PartialObjectMetadata", "PartialObjectMetadataList": result.form = .metadata(version: version)
    default: return nil
    }
    return result
  }
}
