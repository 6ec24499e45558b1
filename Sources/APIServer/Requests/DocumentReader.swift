import HTTPServer
import JSON
import KubeSchema
import YAML

/// A request's document, checked against the schema.
struct ReadDocument: Sendable {
  var object: JSONObject
  /// For the `Warning` headers.
  var warnings: [String] = []
}

extension APIServer {
  /// - Throws: 413, `Timeout`, `BadRequest`.
  func body(_ request: HTTPRequest) async throws(APIStatus) -> [UInt8] {
    do throws(HTTPBodyError) {
      return try await request.body(limit: configuration.bodyBytesMax)
    } catch {
      switch error {
      case .tooLarge(let limit): throw .tooLarge(limitBytes: limit)
      case .timedOut(let seconds): throw .timeout("the request's body did not come within \(seconds) s")
      case .disconnected: throw .badRequest("the request's body ended too early")
      }
    }
  }

  /// The form of a request's body; JSON where nothing is said.
  static func encoding(_ request: HTTPRequest) throws(APIStatus) -> Encoding {
    guard let header = request.headers["content-type"], !header.isEmpty else { return .json }
    guard let encoding = Encoding(mediaType: MediaType(header).type) else {
      throw .unsupportedMediaType(Encoding.accepted)
    }
    return encoding
  }

  /// Reads a body as a document, without looking at what it means.
  func parse(_ bytes: [UInt8], _ encoding: Encoding, kind: String) throws(APIStatus) -> JSONValue {
    do {
      switch encoding {
      case .json:
        return try JSONValue.parse(
          bytes, limits: JSONLimits(maxBytes: configuration.bodyBytesMax, maxDepth: configuration.documentDepthMax))
      case .protobuf: return try KubeProtobuf.decode(bytes)
      case .yaml:
        var limits = YAMLLimits()
        limits.fileBytesMax = configuration.bodyBytesMax
        limits.depthMax = configuration.documentDepthMax
        guard let text = String(validating: bytes, as: UTF8.self) else { throw YAMLError("not UTF-8") }
        let documents = try YAML.parse(text, limits: limits)
        guard documents.count == 1 else { throw YAMLError("\(documents.count) documents where one is expected") }
        return documents[0]
      }
    } catch {
      let why = encoding == .json ? "json parse error: \(error)" : "\(encoding.mediaType): \(error)"
      throw .badRequest(
        "the object provided is unrecognized (must be of type \(kind)): couldn't get version/kind; \(why) "
          + "(\(Self.summary(bytes)))")
    }
  }

  /// The beginning of a body, for messages.
  private static func summary(_ bytes: [UInt8]) -> String {
    let length = 30
    if bytes.isEmpty { return "<empty>" }
    let end = bytes.count > length ? " ..." : ""
    if bytes[0] == UInt8(ascii: "{") { return String(decoding: bytes.prefix(length), as: UTF8.self) + end }
    return bytes.prefix(length).map { $0 < 16 ? "0\(String($0, radix: 16))" : String($0, radix: 16) }.joined() + end
  }

  /// A document as one of a type: kind and version right, fields known and of their type.
  func checked(
    _ value: JSONValue, apiVersion: String, kind: String, type: SchemaType, _ validation: FieldValidation
  ) throws(APIStatus) -> ReadDocument {
    guard var object = value.object else {
      throw .badRequest(
        "the object provided is unrecognized (must be of type \(kind)): couldn't get version/kind; json parse error: "
          + "json: cannot unmarshal \(value.kindName) into Go value of type struct { APIVersion string; Kind string }")
    }
    object.setDefault("apiVersion", .string(apiVersion))
    object.setDefault("kind", .string(kind))
    let (foundVersion, foundKind) = (object.text("apiVersion"), object.text("kind"))
    guard foundKind == kind else {
      let version = foundVersion.split(separator: "/").last.map(String.init) ?? foundVersion
      throw .badRequest(
        "\(foundKind) in version \"\(version)\" cannot be handled as a \(kind): no kind \"\(foundKind)\" is served here"
      )
    }
    guard foundVersion == apiVersion else {
      throw .badRequest(
        "the API version in the data (\(foundVersion)) does not match the expected API version (\(apiVersion))")
    }
    return try checkedFields(object, type, validation)
  }

  private func checkedFields(
    _ object: JSONObject, _ type: SchemaType, _ validation: FieldValidation
  ) throws(APIStatus) -> ReadDocument {
    let problems = schema.check(.object(object), as: type)
    let kind = object.text("kind")
    let version = object.text("apiVersion").split(separator: "/").last.map(String.init) ?? ""
    var unknown: [String] = []
    for problem in problems {
      if problem.isUnknownField {
        unknown.append("unknown field \"\(problem.path)\"")
      } else {
        throw .badRequest(
          "\(kind) in version \"\(version)\" cannot be handled as a \(kind): \(problem)")
      }
    }
    if validation == .strict, !unknown.isEmpty {
      throw .badRequest(
        "\(kind) in version \"\(version)\" cannot be handled as a \(kind): strict decoding error: "
          + unknown.joined(separator: ", "))
    }
    let pruned = schema.pruned(.object(object), as: type).object ?? object
    return ReadDocument(object: pruned, warnings: validation == .warn ? unknown : [])
  }
}
