import HTTPServer
import JSON
import KubeModel
import KubePresentation
import KubeSchema
import ObjectStore
import YAML

/// One object as it is answered: its stored bytes and the revision that made them.
struct AnsweredObject: Sendable {
  var value: [UInt8]
  var revision: Int64
}

extension APIServer {
  static let uncached = "no-cache, private"

  /// A Status, in the form that the client takes.
  func answer(_ status: APIStatus, to request: HTTPRequest) -> HTTPResponse {
    let negotiated = (try? Negotiated(accept: request.headers["accept"], allowsForms: false)) ?? Negotiated()
    var response = encoded(status.json, negotiated.encoding, code: status.code)
    if let seconds = status.details?.retryAfterSeconds, seconds > 0 {
      response.headers["Retry-After"] = String(seconds)
    }
    return response
  }

  /// A document that is no stored object. Falls back to JSON where the schema has no protobuf form.
  func encoded(_ document: JSONValue, _ encoding: Encoding, code: Int = 200) -> HTTPResponse {
    var encoding = encoding
    var bytes: [UInt8] = []
    switch encoding {
    case .json: bytes = document.encoded()
    case .yaml: bytes = Array(YAML.encoded(document).utf8)
    case .protobuf:
      if let message = protobuf(document) {
        bytes = message
      } else {
        encoding = .json
        bytes = document.encoded()
      }
    }
    return HTTPResponse(
      status: code, headers: ["Content-Type": encoding.mediaType, "Cache-Control": Self.uncached],
      body: .bytes(bytes))
  }

  /// The protobuf form of a document, by its own kind; nil where there is none.
  func protobuf(_ document: JSONValue) -> [UInt8]? {
    guard let type = schema.type(apiVersion: document.text("apiVersion"), kind: document.text("kind")) else {
      return nil
    }
    return try? KubeProtobuf.encode(document, as: type)
  }

  /// The protobuf message of a stored object, without an envelope: made once a revision.
  func message(_ object: StoredObject, _ resource: ServedResource) throws(APIStatus) -> [UInt8] {
    try encodings.message(object) { (object) throws(APIStatus) in try makeMessage(object, resource) }
  }

  func makeMessage(_ object: StoredObject, _ resource: ServedResource) throws(APIStatus) -> [UInt8] {
    let document = try document(AnsweredObject(value: object.value, revision: object.revision), resource)
    do throws(ProtobufError) {
      return try KubeProtobuf.message(document, as: resource.schema, schema: schema)
    } catch {
      throw .internalError("encode \(object.key): \(error)")
    }
  }

  /// A stored object as it is, in protobuf with its envelope.
  func protobuf(_ object: StoredObject, _ resource: ServedResource) throws(APIStatus) -> [UInt8] {
    KubeProtobuf.envelope(
      apiVersion: resource.type.apiVersion, kind: resource.kind, message: try message(object, resource))
  }

  /// An object in the form that was negotiated.
  func answer(_ object: AnsweredObject, _ context: RequestContext, code: Int = 200, warnings: [String] = [])
    throws(APIStatus) -> HTTPResponse
  {
    let negotiated = context.negotiated
    var response: HTTPResponse
    if context.isPlain {
      response = HTTPResponse(
        status: code, headers: ["Content-Type": "application/json", "Cache-Control": Self.uncached],
        body: .bytes(context.resource.answer(object.value, revision: object.revision)))
    } else {
      let document = try document(object, context.resource)
      response = encoded(formed([document], list: nil, context), negotiated.encoding, code: code)
    }
    for warning in warnings + context.notes.warnings {
      response.headers.add("Warning", Self.warningHeader(warning))
    }
    return response
  }

  /// The object with its revision, decoded.
  func document(_ object: AnsweredObject, _ resource: ServedResource) throws(APIStatus) -> JSONValue {
    if resource.custom?.conversion.isNeeded == true { return try converted(object, resource) }
    do {
      let stored = try JSONValue.parse(
        resource.answer(object.value, revision: object.revision), limits: JSONLimits(maxDepth: 256))
      guard let alias = resource.alias, let members = stored.object else { return stored }
      return .object(Conversions.spoken(members, as: alias))
    } catch {
      throw .internalError("read \(resource.qualified) from the store: \(error)")
    }
  }

  /// `299 - "…"`, RFC 7234.
  static func warningHeader(_ text: String) -> String {
    var quoted = ""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\"", "\\": quoted += "\\\(scalar)"
      default: if scalar.value >= 0x20, scalar.value != 0x7F { quoted.unicodeScalars.append(scalar) }
      }
    }
    return "299 - \"\(quoted)\""
  }

  /// Objects as what stands for them: themselves, a Table, or their metadata. - Parameter list: the list's metadata; nil
  /// for one object.
  func formed(_ documents: [JSONValue], list: JSONObject?, _ context: RequestContext) -> JSONValue {
    switch context.negotiated.form {
    case .object:
      if let list { return Self.list(documents, kind: context.resource.kind, context.resource.type.apiVersion, list) }
      return documents.first ?? .null
    case .table(let version):
      let included = TablePresenter.IncludedObject(rawValue: context.query["includeObject"] ?? "") ?? .metadata
      var metadata = list ?? [:]
      if list == nil, let only = documents.first?["metadata"] {
        metadata["resourceVersion"] = only["resourceVersion"]
      }
      var table =
        context.resource.custom?.table(documents, list: metadata, included, now: context.now)
        ?? TablePresenter.table(
          resource: context.resource.type, objects: documents, listMeta: metadata, includeObject: included,
          now: context.now)
      if version != "v1", var object = table.object {
        object["apiVersion"] = .string("meta.k8s.io/\(version)")
        table = .object(object)
      }
      return table
    case .metadata(let version):
      let partial = documents.map { Self.metadataOnly($0, version: version) }
      guard let list else { return partial.first ?? .null }
      return Self.list(partial, kind: "PartialObjectMetadata", "meta.k8s.io/\(version)", list)
    }
  }

  private static func metadataOnly(_ document: JSONValue, version: String) -> JSONValue {
    [
      "kind": "PartialObjectMetadata", "apiVersion": .string("meta.k8s.io/\(version)"),
      "metadata": document["metadata"] ?? [:],
    ]
  }

  private static func list(
    _ items: [JSONValue], kind: String, _ apiVersion: String, _ metadata: JSONObject
  ) -> JSONValue {
    [
      "kind": .string("\(kind)List"), "apiVersion": .string(apiVersion), "metadata": .object(metadata),
      "items": .array(items),
    ]
  }
}
