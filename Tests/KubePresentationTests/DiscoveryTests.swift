import JSON
import KubePresentation
import KubeSchema
import TestSupport
import Testing

private let discovery = Discovery(.kubernetes)

@Suite struct DiscoveryTests {
  @Test func theRootsNameVersionsAndGroups() {
    #expect(
      discovery.api(serverAddress: "10.0.0.1:6443") == [
        "kind": "APIVersions", "versions": ["v1"],
        "serverAddressByClientCIDRs": [["clientCIDR": "0.0.0.0/0", "serverAddress": "10.0.0.1:6443"]],
      ])
    let groups = discovery.apis()["groups"]?.array ?? []
    #expect(
      groups.compactMap { $0["name"]?.string } == [
        "apps", "events.k8s.io", "authentication.k8s.io", "authorization.k8s.io", "autoscaling", "batch",
        "certificates.k8s.io", "networking.k8s.io", "policy", "rbac.authorization.k8s.io", "storage.k8s.io",
        "admissionregistration.k8s.io", "apiextensions.k8s.io", "scheduling.k8s.io", "coordination.k8s.io",
        "node.k8s.io", "discovery.k8s.io",
      ])
    #expect(
      discovery.group("apps") == [
        "kind": "APIGroup", "apiVersion": "v1", "name": "apps",
        "versions": [["groupVersion": "apps/v1", "version": "v1"]],
        "preferredVersion": ["groupVersion": "apps/v1", "version": "v1"],
      ])
    #expect(discovery.group("autoscaling")?["preferredVersion"]?["version"] == "v2")
    #expect(discovery.group("flocks.example") == nil)
    #expect(discovery.resources(group: "apps", version: "v2") == nil)
  }

  @Test func aListOfResourcesReadsAsWritten() throws {
    let document = try #require(discovery.resources(group: "apps", version: "v1"))
    try Golden.check(document.encodedString(pretty: true), named: "discovery-apps-v1.json")
  }

  @Test func theAggregatedFormReadsAsWritten() throws {
    let document = discovery.aggregatedAPIs(.v2)
    try Golden.check(document.encodedString(pretty: true), named: "discovery-aggregated.json")
  }

  @Test(arguments: Schema.kubernetes.resources.map { "\($0.apiVersion) \($0.name)" })
  func everyResourceIsFoundInBothForms(_ name: String) throws {
    let row = try #require(Schema.kubernetes.resources.first { "\($0.apiVersion) \($0.name)" == name })
    let plain = try #require(discovery.resources(group: row.group, version: row.version))
    let entry = try #require(plain["resources"]?.array?.first { $0["name"]?.string == row.name })
    #expect(entry["kind"]?.string == row.kind)
    #expect(entry["verbs"] == JSONValue(row.verbs))
    #expect(entry["namespaced"] == .bool(row.isNamespaced))
    #expect((entry["shortNames"]?.array ?? []).compactMap(\.string) == row.shortNames)

    for version in Discovery.AggregatedVersion.allCases {
      let document = row.group.isEmpty ? discovery.aggregatedAPI(version) : discovery.aggregatedAPIs(version)
      #expect(document["apiVersion"]?.string == "apidiscovery.k8s.io/\(version.rawValue)")
      let item = try #require(document["items"]?.array?.first { ($0["metadata"]?["name"]?.string ?? "") == row.group })
      let resource = try #require(
        item["versions"]?[0]?["resources"]?.array?.first { $0["resource"]?.string == row.resource })
      guard let subresource = row.subresource else {
        #expect(resource["responseKind"]?["kind"]?.string == row.kind)
        #expect(resource["scope"]?.string == (row.isNamespaced ? "Namespaced" : "Cluster"))
        continue
      }
      let below = resource["subresources"]?.array?.first { $0["subresource"]?.string == subresource }
      #expect(below?["responseKind"]?["kind"]?.string == row.kind)
      #expect(below?["verbs"] == JSONValue(row.verbs))
    }
  }

  @Test func aScaleIsOfItsOwnGroup() throws {
    let scale = try #require(
      discovery.resources(group: "apps", version: "v1")?["resources"]?.array?.first {
        $0["name"] == "deployments/scale"
      })
    #expect(scale["group"] == "autoscaling")
    #expect(scale["version"] == "v1")
  }

  @Test func equalDocumentsHaveEqualNames() {
    let first = discovery.aggregatedAPIs(.v2).encoded()
    #expect(ContentHash.of(first) == ContentHash.of(Discovery(.kubernetes).aggregatedAPIs(.v2).encoded()))
    #expect(ContentHash.of(first) != ContentHash.of(first + [0]))
    #expect(ContentHash.of([]).count == 32)
  }
}
