import JSON
import KubePresentation
import KubeSchema
import Testing

@Suite struct CustomKindTests {
  private static let schema: JSONValue = [
    "type": "object", "description": "A thing that turns.",
    "properties": [
      "spec": [
        "type": "object", "required": ["size"],
        "properties": [
          "size": ["type": "integer", "default": 2, "description": "How large."],
          "port": ["x-kubernetes-int-or-string": true, "anyOf": [["type": "integer"], ["type": "string"]]],
          "note": ["type": "string", "nullable": true],
          "free": [
            "type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": ["a": ["type": "string"]],
          ],
        ],
      ]
    ],
  ]

  private static func row(_ subresource: String?, _ kind: String, _ verbs: [String]) -> ResourceRow {
    ResourceRow(
      custom: "x.example.com", version: "v1", resource: "widgets", subresource: subresource,
      singular: subresource == nil ? "widget" : "", kind: kind, isNamespaced: true, verbs: verbs, shortNames: [],
      categories: [])
  }

  private static let openAPI = OpenAPI(
    Schema.kubernetes.adding([
      row(nil, "Widget", ["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"]),
      row("status", "Widget", ["get", "patch", "update"]), row("scale", "Scale", ["get", "patch", "update"]),
    ]), version: "v1",
    custom: [
      CustomKind(
        GroupVersionKind(group: "x.example.com", version: "v1", kind: "Widget"), listKind: "WidgetList", schema: schema)
    ])

  private func references(_ value: JSONValue) -> [String] {
    switch value {
    case .array(let items): items.flatMap(references)
    case .object(let object):
      object.members.flatMap { key, value in key == "$ref" ? [value.string ?? ""] : references(value) }
    default: []
    }
  }

  @Test func bothVersionsShowTheKindItsListAndAllItsPaths() throws {
    let v3 = try JSONValue.parse(try #require(Self.openAPI.v3(named: "apis/x.example.com/v1")))
    let v2 = try JSONValue.parse(Self.openAPI.v2())
    let kind: JSONValue = ["group": "x.example.com", "kind": "Widget", "version": "v1"]
    for types in [v3["components"]?["schemas"], v2["definitions"]] {
      #expect(types?["com.example.x.v1.Widget"]?["x-kubernetes-group-version-kind"] == [kind])
      #expect(types?["com.example.x.v1.WidgetList"]?["required"] == ["items"])
    }
    let place = "/apis/x.example.com/v1/namespaces/{namespace}/widgets"
    for document in [v2, v3] {
      let paths = document["paths"]
      #expect(paths?[place]?["delete"]?["x-kubernetes-action"] == "deletecollection")
      #expect(paths?["\(place)/{name}"]?["patch"]?["x-kubernetes-group-version-kind"] == kind)
      #expect(paths?["\(place)/{name}/status"]?["put"] != nil)
      #expect(paths?["\(place)/{name}/scale"]?["get"]?["x-kubernetes-group-version-kind"]?["group"] == "autoscaling")
      #expect(paths?["/apis/x.example.com/v1/widgets"]?["get"]?["x-kubernetes-action"] == "list")
    }
    let types = v3["components"]?["schemas"]?.object ?? [:]
    for target in references(v3) { #expect(types[String(target.split(separator: "/").last ?? "")] != nil) }
  }

  @Test func nobodySendsAStrategicPatchToACustomKind() throws {
    let v3 = try JSONValue.parse(try #require(Self.openAPI.v3(named: "apis/x.example.com/v1")))
    let patch = v3["paths"]?["/apis/x.example.com/v1/namespaces/{namespace}/widgets/{name}"]?["patch"]
    #expect(
      patch?["requestBody"]?["content"]?.object?.keys
        == ["application/json-patch+json", "application/merge-patch+json", "application/apply-patch+yaml"])
  }

  @Test func versionTwoLeavesOutWhatItCannotSay() throws {
    let v2 = try JSONValue.parse(Self.openAPI.v2())
    let shown = v2["definitions"]?["com.example.x.v1.Widget"]
    let spec = shown?["properties"]?["spec"]?["properties"]
    #expect(shown?["description"] == "A thing that turns.")
    #expect(spec?["size"] == ["type": "integer", "description": "How large."])
    #expect(spec?["port"] == ["x-kubernetes-int-or-string": true, "type": "string", "format": "int-or-string"])
    #expect(spec?["note"] == [:])
    #expect(spec?["free"] == ["x-kubernetes-preserve-unknown-fields": true])
    #expect(!Self.openAPI.v2Protobuf().isEmpty)
  }
}
