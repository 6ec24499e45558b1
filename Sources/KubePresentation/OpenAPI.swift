package import JSON
package import KubeSchema

/// The published schema: https://kubernetes.io/docs/concepts/overview/kubernetes-api/#openapi-interface-definition
///
/// Documents are large, so they are given as bytes, and are put together piece by piece, lest the whole tree of one lies
/// in memory. Pure; a call costs up to some tens of milliseconds: the caller keeps what it asked for.
package struct OpenAPI: Sendable {
  /// `Content-Type` of `v2Protobuf`.
  package static let v2ProtobufMediaType = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
  /// What clients ask for when they want it. The older name, with the @, is not a media type by the letter: it may be
  /// asked for but must not be answered, since clients refuse to read it.
  package static let v2ProtobufAccepted = [
    v2ProtobufMediaType, "application/com.github.proto-openapi.spec.v2@v1.0+protobuf",
  ]

  let schema: Schema
  let version: String
  private let types: OpenAPITypes
  private let paths: OpenAPIPaths

  /// - Parameters:
  ///   - version: of the server, for the documents' heads.
  ///   - custom: the kinds of the schema's resources that are not in the table.
  package init(_ schema: Schema, version: String, custom: [CustomKind] = []) {
    self.schema = schema
    self.version = version
    types = OpenAPITypes(schema, custom)
    paths = OpenAPIPaths(schema, custom)
  }

  // MARK: version 3

  /// Names of the documents, as they stand in the index and below `/openapi/v3/`: `api/v1`, `apis/apps/v1`.
  package var v3Names: [String] { paths.groupVersions.map(Self.name) }

  private static func name(_ version: GroupVersion) -> String {
    version.group.isEmpty ? "api/\(version.version)" : "apis/\(version.group)/\(version.version)"
  }

  /// `/openapi/v3`: where each document is, with the hash of its content, by which clients keep it.
  package func v3Index(hashes: [String: String]) -> JSONValue {
    var shown = JSONObject()
    for name in v3Names {
      let hash = hashes[name].map { "?hash=\($0)" } ?? ""
      shown[name] = ["serverRelativeURL": .string("/openapi/v3/\(name)\(hash)")]
    }
    return ["paths": .object(shown)]
  }

  /// `/openapi/v3/api/v1` and its like; nil where there is no such document.
  package func v3(named name: String) -> [UInt8]? {
    guard let version = paths.groupVersions.first(where: { Self.name($0) == name }) else { return nil }
    let paths = paths.paths(of: version)
    let roots = Set(paths.flatMap { $0.operations.flatMap(\.typeNames) }).union(types.kinds(of: version))
    var writer = DocumentWriter()
    writer.open()
    writer.member("openapi", "3.0.0")
    writer.member("info", ["title": "Martlet", "version": .string(self.version)])
    writer.open("paths")
    for path in paths { writer.member(path.template, path.v3) }
    writer.close()
    writer.open("components")
    writer.open("schemas")
    for name in types.reachable(from: roots) { writer.member(name, types.definition(name, .v3)) }
    writer.close()
    writer.close()
    writer.close()
    return writer.bytes
  }

  // MARK: version 2

  /// `/openapi/v2` as JSON.
  package func v2() -> [UInt8] {
    var writer = DocumentWriter()
    writer.open()
    writer.member("swagger", "2.0")
    writer.member("info", v2Info)
    writer.open("paths")
    for path in allPaths { writer.member(path.template, path.v2) }
    writer.close()
    writer.open("definitions")
    for name in definitionNames { writer.member(name, types.definition(name, .v2)) }
    writer.close()
    writer.close()
    return writer.bytes
  }

  /// `/openapi/v2` as `openapi.v2.Document` in protobuf, which kubectl up to 1.25 asks for.
  package func v2Protobuf() -> [UInt8] {
    var document = GnosticDocument(info: v2Info)
    for path in allPaths { document.add(path: path.template, path.v2) }
    for name in definitionNames { document.add(definition: name, types.definition(name, .v2)) }
    return document.bytes
  }

  private var v2Info: JSONValue { ["title": "Martlet", "version": .string(version)] }
  private var allPaths: [OpenAPIPath] { paths.groupVersions.flatMap { paths.paths(of: $0) } }

  private var definitionNames: [String] {
    let roots = Set(allPaths.flatMap { $0.operations.flatMap(\.typeNames) })
    let kinds = paths.groupVersions.flatMap { types.kinds(of: $0) }
    return types.reachable(from: roots.union(kinds))
  }
}

struct GroupVersion: Hashable, Sendable {
  let group: String
  let version: String
  var isCore: Bool { group.isEmpty }
  var apiVersion: String { isCore ? version : "\(group)/\(version)" }
}

/// Writes one JSON object member by member, so that only a member at a time is a tree in memory.
struct DocumentWriter {
  private(set) var bytes: [UInt8] = []
  private var isFirst = true

  mutating func open(_ name: String? = nil) {
    if let name { key(name) }
    bytes.append(UInt8(ascii: "{"))
    isFirst = true
  }

  mutating func close() {
    bytes.append(UInt8(ascii: "}"))
    isFirst = false
  }

  mutating func member(_ name: String, _ value: JSONValue) {
    key(name)
    bytes += value.encoded()
  }

  private mutating func key(_ name: String) {
    if !isFirst { bytes.append(UInt8(ascii: ",")) }
    isFirst = false
    bytes += JSONValue.string(name).encoded()
    bytes.append(UInt8(ascii: ":"))
  }
}
