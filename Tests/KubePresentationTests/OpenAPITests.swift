import JSON
import KubePresentation
import KubeSchema
import TestSupport
import Testing

private let openAPI = OpenAPI(.kubernetes, version: "v1.36.0+martlet")

/// The document of a group and version.
private func document(_ row: ResourceRow) throws -> JSONValue {
  let name = row.group.isEmpty ? "api/\(row.version)" : "apis/\(row.group)/\(row.version)"
  return try JSONValue.parse(try #require(openAPI.v3(named: name)))
}

/// Every `$ref` below a value.
private func references(_ value: JSONValue, into found: inout Set<String>) {
  switch value {
  case .array(let items): for item in items { references(item, into: &found) }
  case .object(let object):
    for (key, member) in object.members {
      if key == "$ref", let target = member.string { found.insert(target) } else { references(member, into: &found) }
    }
  default: break
  }
}

@Suite struct OpenAPITests {
  private static let v2 = try? JSONValue.parse(openAPI.v2())

  @Test func theIndexTellsWhereDocumentsAre() {
    #expect(openAPI.v3Names.count == 19)
    #expect(
      Set(["api/v1", "apis/apps/v1", "apis/autoscaling/v1", "apis/autoscaling/v2"]).isSubset(of: openAPI.v3Names))
    let index = openAPI.v3Index(hashes: ["api/v1": "ABC"])
    #expect(index["paths"]?["api/v1"]?["serverRelativeURL"] == "/openapi/v3/api/v1?hash=ABC")
    #expect(openAPI.v3(named: "apis/flocks.example/v1") == nil)
  }

  @Test func theSameSchemaGivesTheSameDocuments() {
    let again = OpenAPI(.kubernetes, version: "v1.36.0+martlet")
    for name in openAPI.v3Names { #expect(openAPI.v3(named: name) == again.v3(named: name)) }
    #expect(openAPI.v2() == again.v2())
    #expect(openAPI.v2Protobuf() == again.v2Protobuf())
  }

  @Test func everyReferenceLeadsSomewhere() throws {
    for name in openAPI.v3Names {
      let document = try JSONValue.parse(try #require(openAPI.v3(named: name)))
      let schemas = document["components"]?["schemas"]?.object ?? [:]
      var found: Set<String> = []
      references(document, into: &found)
      for target in found { #expect(schemas[String(target.dropFirst("#/components/schemas/".count))] != nil) }
    }
    let v2 = try #require(Self.v2)
    let definitions = v2["definitions"]?.object ?? [:]
    var found: Set<String> = []
    references(v2, into: &found)
    for target in found { #expect(definitions[String(target.dropFirst("#/definitions/".count))] != nil) }
  }

  private static func path(_ row: ResourceRow) -> String {
    let root = row.group.isEmpty ? "/api/\(row.version)" : "/apis/\(row.group)/\(row.version)"
    let place = row.isNamespaced ? "\(root)/namespaces/{namespace}/\(row.resource)" : "\(root)/\(row.resource)"
    if let subresource = row.subresource { return "\(place)/{name}/\(subresource)" }
    return row.verbs.contains("get") ? "\(place)/{name}" : place
  }

  @Test(arguments: Schema.kubernetes.resources.map { "\($0.apiVersion) \($0.name)" })
  func everyResourceHasItsPathsAndItsKind(_ name: String) throws {
    let row = try #require(Schema.kubernetes.resources.first { "\($0.apiVersion) \($0.name)" == name })
    let v3 = try document(row)
    let item = try #require(v3["paths"]?[Self.path(row)])
    let old = try #require(Self.v2?["paths"]?[Self.path(row)])
    #expect(Set(item.object?.keys ?? []) == Set(old.object?.keys ?? []))
    let methods = ["get": "get", "update": "put", "patch": "patch"]
    for (verb, method) in methods where row.verbs.contains(verb) && !row.kind.hasSuffix("Options") {
      #expect(item[method]?["x-kubernetes-action"]?.string == method)
      #expect(item[method]?["x-kubernetes-group-version-kind"]?["kind"]?.string == row.kind)
      #expect(old[method]?["operationId"] == item[method]?["operationId"])
    }
    if let patch = item["patch"] {
      // By these, clients decide that the server checks what they send.
      let names = Set((patch["parameters"]?.array ?? []).compactMap { $0["name"]?.string })
      #expect(names.isSuperset(of: ["dryRun", "fieldManager", "fieldValidation"]))
      #expect(patch["requestBody"]?["content"]?["application/strategic-merge-patch+json"] != nil)
      #expect(old["patch"]?["consumes"]?.array?.contains("application/strategic-merge-patch+json") == true)
    }
  }

  @Test func operationsHaveNamesOfTheirOwn() throws {
    var ids: [String] = []
    for (_, item) in Self.v2?["paths"]?.object?.members ?? [] {
      ids += (item.object?.members ?? []).compactMap { $0.value["operationId"]?.string }
    }
    #expect(ids.count == Set(ids).count)
    for id in [
      "listCoreV1NamespacedPod", "listCoreV1PodForAllNamespaces", "readCoreV1NamespacedPodLog",
      "connectCoreV1GetNamespacedPodExec", "replaceAppsV1NamespacedDeploymentScale", "createCoreV1NamespacedPodBinding",
      "deleteCoreV1CollectionNamespacedConfigMap", "patchCoreV1NodeStatus", "readCoordinationV1NamespacedLease",
    ] {
      #expect(ids.contains(id))
    }
  }

  @Test func schemasCarryWhatPatchesNeed() throws {
    let row = try #require(Schema.kubernetes.resources.first { $0.resource == "deployments" })
    let schemas = try #require(document(row)["components"]?["schemas"])
    let containers = schemas["io.k8s.api.core.v1.PodSpec"]?["properties"]?["containers"]
    #expect(containers?["x-kubernetes-patch-merge-key"] == "name")
    #expect(containers?["x-kubernetes-patch-strategy"] == "merge")
    #expect(containers?["x-kubernetes-list-type"] == "map")
    #expect(containers?["x-kubernetes-list-map-keys"] == ["name"])
    #expect(
      schemas["io.k8s.api.apps.v1.Deployment"]?["x-kubernetes-group-version-kind"] == [
        ["group": "apps", "kind": "Deployment", "version": "v1"]
      ])
  }

  @Test(arguments: ["io.k8s.api.core.v1.ContainerPort", "io.k8s.api.apps.v1.DeploymentSpec"])
  func definitionsReadAsWritten(_ name: String) throws {
    let row = try #require(Schema.kubernetes.resources.first { $0.resource == "deployments" })
    let new = try #require(document(row)["components"]?["schemas"]?[name])
    let old = try #require(Self.v2?["definitions"]?[name])
    let short = name.split(separator: ".").last ?? ""
    try Golden.check(
      JSONValue.object(["v2": old, "v3": new]).encodedString(pretty: true), named: "schema-\(short).json")
  }

  @Test(arguments: Descriptions.names) func whatIsDescribedExists(_ name: String) throws {
    let parts = name.split(separator: ".").map(String.init)
    let types = Schema.kubernetes.types.values.filter { parts[0] == "*" || $0.shortName == parts[0] }
    #expect(types.contains { parts.count == 1 || $0.fields[parts[1]] != nil })
  }
}
