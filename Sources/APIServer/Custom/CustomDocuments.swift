import JSON
import KubeModel
import KubePresentation
import KubeSchema
import Synchronization

/// The documents of discovery and schemas as they are now: those of the table, with those of the definitions.
final class DocumentShelf: Sendable {
  private let schema: Schema
  private let configuration: APIServerConfiguration
  private let custom: CustomResources
  private let ofTable: Documents
  private let latest = Mutex<(revision: Int64, documents: Documents)?>(nil)

  init(_ schema: Schema, _ configuration: APIServerConfiguration, _ custom: CustomResources) {
    (self.schema, self.configuration, self.custom) = (schema, configuration, custom)
    ofTable = Documents(schema, configuration)
  }

  var current: Documents {
    let state = custom.current
    if state.all.isEmpty { return ofTable }
    return latest.withLock { latest in
      if let latest, latest.revision == state.revision { return latest.documents }
      let rows = state.all.flatMap { $0.custom?.rows ?? [] }
      let made = Documents(schema, configuration, adding: rows, state.all)
      latest = (state.revision, made)
      return made
    }
  }
}

/// The published schema of the versions of groups that only definitions serve.
struct CustomOpenAPI: Sendable {
  private let resources: [String: [ServedResource]]

  init(_ resources: [ServedResource]) {
    self.resources = Dictionary(grouping: resources) { "apis/\($0.type.apiVersion)" }
  }

  /// Names of the documents: `apis/example.com/v1`.
  var names: [String] { resources.keys.sorted() }

  /// - Parameter core: the document of `api/v1`, from which the types of metadata come.
  func document(named name: String, core: [UInt8]?, version: String) -> [UInt8]? {
    guard let served = resources[name] else { return nil }
    let known = core.flatMap { try? JSONValue.parse($0) }?["components"]?["schemas"]
    var schemas = JSONObject()
    var wanted = [Self.metadata]
    while let next = wanted.popLast() {
      guard schemas[next] == nil, let found = known?[next] else { continue }
      schemas[next] = found
      wanted += Self.references(in: found)
    }
    var paths = JSONObject()
    for resource in served {
      schemas[Self.typeName(resource)] = Self.type(resource)
      for (path, operations) in Self.paths(resource) { paths[path] = operations }
    }
    let document: JSONValue = [
      "openapi": "3.0.0", "info": ["title": "Martlet", "version": .string(version)], "paths": .object(paths),
      "components": ["schemas": .object(schemas)],
    ]
    return document.encoded()
  }

  private static let metadata = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"

  private static func references(in value: JSONValue) -> [String] {
    switch value {
    case .object(let object):
      object.members.flatMap { key, value -> [String] in
        if key == "$ref", let text = value.string { return [String(text.split(separator: "/").last ?? "")] }
        return references(in: value)
      }
    case .array(let items): items.flatMap(references)
    default: []
    }
  }

  /// `com.example.v1.Widget`
  private static func typeName(_ resource: ServedResource) -> String {
    let group = resource.qualified.group.split(separator: ".").reversed().joined(separator: ".")
    return "\(group).\(resource.row?.version ?? "").\(resource.kind)"
  }

  private static func kind(_ resource: ServedResource) -> JSONValue {
    [
      "group": .string(resource.qualified.group), "version": .string(resource.row?.version ?? ""),
      "kind": .string(resource.kind),
    ]
  }

  private static func type(_ resource: ServedResource) -> JSONValue {
    var schema = resource.custom?.schema.json.object ?? [:]
    var properties = schema[object: "properties"]
    properties["apiVersion"] = [
      "type": "string", "description": "The version of the group, and the group, that the object is of.",
    ]
    properties["kind"] = ["type": "string", "description": "The name of what the object is."]
    properties["metadata"] = [
      "description": "What every object says of itself.",
      "allOf": [["$ref": .string("#/components/schemas/\(metadata)")]],
    ]
    schema["type"] = "object"
    schema["properties"] = .object(properties)
    schema["x-kubernetes-group-version-kind"] = .array([kind(resource)])
    return .object(schema)
  }

  private static func paths(_ resource: ServedResource) -> [(String, JSONValue)] {
    guard let row = resource.row else { return [] }
    let root = "/apis/\(row.apiVersion)"
    let place = row.isNamespaced ? "\(root)/namespaces/{namespace}/\(row.resource)" : "\(root)/\(row.resource)"
    let content: JSONValue = [
      "application/json": ["schema": ["$ref": .string("#/components/schemas/\(typeName(resource))")]]
    ]
    func parameters(_ names: [String]) -> JSONValue {
      .array(
        names.map { ["name": .string($0), "in": "path", "required": true, "schema": ["type": "string"]] })
    }
    let space = row.isNamespaced ? ["namespace"] : []
    func operation(_ action: String, _ id: String, hasBody: Bool) -> JSONValue {
      var operation: JSONObject = [
        "operationId": .string("\(id)\(row.isNamespaced ? "Namespaced" : "")\(row.kind)-\(row.apiVersion)"),
        "responses": ["200": ["description": "OK", "content": content]],
        "x-kubernetes-action": .string(action), "x-kubernetes-group-version-kind": kind(resource),
      ]
      if hasBody { operation["requestBody"] = ["content": content, "required": true] }
      return .object(operation)
    }
    return [
      (
        place,
        [
          "parameters": parameters(space), "get": operation("list", "list", hasBody: false),
          "post": operation("post", "create", hasBody: true),
        ]
      ),
      (
        "\(place)/{name}",
        [
          "parameters": parameters(["name"] + space), "get": operation("get", "read", hasBody: false),
          "put": operation("put", "replace", hasBody: true), "delete": operation("delete", "delete", hasBody: false),
        ]
      ),
    ]
  }
}

extension ServedResource {
  /// The row of a custom resource.
  fileprivate var row: ResourceRow? { custom?.rows.first }
}
