package import JSON
package import KubeSchema

/// What the server says of the resources that it has: https://kubernetes.io/docs/concepts/overview/kubernetes-api/
///
/// Pure, and made anew with every call: the caller keeps the encoded documents.
package struct Discovery: Sendable {
  /// Both forms of the one document that lists everything below a root.
  package enum AggregatedVersion: String, Sendable, CaseIterable {
    case v2
    case v2beta1

    /// As it stands in `Accept` and `Content-Type`.
    package var mediaType: String {
      "application/json;g=apidiscovery.k8s.io;v=\(rawValue);as=APIGroupDiscoveryList"
    }
  }

  private let schema: Schema
  /// Groups and their versions in the order of the table; the core group is not among them.
  private let groups: [(name: String, versions: [String])]
  private let coreVersions: [String]

  package init(_ schema: Schema) {
    self.schema = schema
    var groups: [(name: String, versions: [String])] = []
    for row in schema.resources {
      if let index = groups.firstIndex(where: { $0.name == row.group }) {
        if !groups[index].versions.contains(row.version) { groups[index].versions.append(row.version) }
      } else {
        groups.append((row.group, [row.version]))
      }
    }
    coreVersions = groups.first { $0.name.isEmpty }?.versions ?? []
    self.groups = groups.filter { !$0.name.isEmpty }
  }

  /// `/api`. - Parameter serverAddress: host and port at which clients reach the server.
  package func api(serverAddress: String) -> JSONValue {
    [
      "kind": "APIVersions", "versions": JSONValue(coreVersions),
      "serverAddressByClientCIDRs": [["clientCIDR": "0.0.0.0/0", "serverAddress": .string(serverAddress)]],
    ]
  }

  /// `/apis`
  package func apis() -> JSONValue {
    [
      "kind": "APIGroupList", "apiVersion": "v1",
      "groups": .array(groups.map { .object(group($0.name, $0.versions)) }),
    ]
  }

  /// `/apis/GROUP`; nil where there is no such group.
  package func group(_ name: String) -> JSONValue? {
    guard let found = groups.first(where: { $0.name == name }) else { return nil }
    var document: JSONObject = ["kind": "APIGroup", "apiVersion": "v1"]
    for (key, value) in group(found.name, found.versions).members { document[key] = value }
    return .object(document)
  }

  private func group(_ name: String, _ versions: [String]) -> JSONObject {
    let shown: [JSONValue] = versions.map { ["groupVersion": .string("\(name)/\($0)"), "version": .string($0)] }
    return ["name": .string(name), "versions": .array(shown), "preferredVersion": shown.first ?? .null]
  }

  /// `/api/v1` and `/apis/GROUP/VERSION`; nil where there is no such version.
  package func resources(group: String, version: String) -> JSONValue? {
    let rows = schema.resources.filter { $0.group == group && $0.version == version }
    guard let first = rows.first else { return nil }
    return [
      "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": .string(first.apiVersion),
      "resources": .array(rows.map { .object(resource($0)) }),
    ]
  }

  private func resource(_ row: ResourceRow) -> JSONObject {
    let kind = schema.kind(of: row)
    var resource: JSONObject = [
      "name": .string(row.name), "singularName": .string(row.singular), "namespaced": .bool(row.isNamespaced),
    ]
    if kind.apiVersion != row.apiVersion {
      resource["group"] = .string(kind.group)
      resource["version"] = .string(kind.version)
    }
    resource["kind"] = .string(row.kind)
    resource["verbs"] = JSONValue(row.verbs)
    if !row.shortNames.isEmpty { resource["shortNames"] = JSONValue(row.shortNames) }
    if !row.categories.isEmpty { resource["categories"] = JSONValue(row.categories) }
    if row.subresource == nil, row.verbs.contains("watch") {
      let hash = ContentHash.of(Array("\(row.apiVersion)/\(row.kind)".utf8)).prefix(11)
      resource["storageVersionHash"] = .string("\(hash)=")
    }
    return resource
  }

  // MARK: aggregated

  /// `/api` for clients that accept the aggregated form.
  package func aggregatedAPI(_ version: AggregatedVersion) -> JSONValue {
    list(version, [item(name: "", versions: coreVersions)])
  }

  /// `/apis` for clients that accept the aggregated form.
  package func aggregatedAPIs(_ version: AggregatedVersion) -> JSONValue {
    list(version, groups.map { item(name: $0.name, versions: $0.versions) })
  }

  private func list(_ version: AggregatedVersion, _ items: [JSONValue]) -> JSONValue {
    [
      "kind": "APIGroupDiscoveryList", "apiVersion": .string("apidiscovery.k8s.io/\(version.rawValue)"),
      "metadata": [:], "items": .array(items),
    ]
  }

  private func item(name: String, versions: [String]) -> JSONValue {
    var metadata: JSONObject = ["creationTimestamp": .null]
    if !name.isEmpty { metadata["name"] = .string(name) }
    return [
      "metadata": .object(metadata),
      "versions": .array(
        versions.map { version in
          let rows = schema.resources.filter { $0.group == name && $0.version == version }
          return [
            "version": .string(version),
            "resources": .array(parents(rows).map { .object(aggregated($0, among: rows)) }), "freshness": "Current",
          ]
        }),
    ]
  }

  private func parents(_ rows: [ResourceRow]) -> [ResourceRow] { rows.filter { $0.subresource == nil } }

  private func aggregated(_ row: ResourceRow, among rows: [ResourceRow]) -> JSONObject {
    var resource: JSONObject = [
      "resource": .string(row.resource), "responseKind": responseKind(row),
      "scope": .string(row.isNamespaced ? "Namespaced" : "Cluster"), "singularResource": .string(row.singular),
      "verbs": JSONValue(row.verbs),
    ]
    if !row.shortNames.isEmpty { resource["shortNames"] = JSONValue(row.shortNames) }
    if !row.categories.isEmpty { resource["categories"] = JSONValue(row.categories) }
    let below = rows.filter { $0.resource == row.resource && $0.subresource != nil }
    if !below.isEmpty {
      resource["subresources"] = .array(
        below.map {
          [
            "subresource": .string($0.subresource ?? ""), "responseKind": responseKind($0),
            "verbs": JSONValue($0.verbs),
          ]
        })
    }
    return resource
  }

  private func responseKind(_ row: ResourceRow) -> JSONValue {
    let kind = schema.kind(of: row)
    return ["group": .string(kind.group), "version": .string(kind.version), "kind": .string(kind.kind)]
  }
}

extension Schema {
  /// The kind that a resource answers with. A subresource may answer with one of another group: scales are of
  /// `autoscaling`, whatever is scaled, and kubectl evicts only where evictions are of `policy`.
  func kind(of row: ResourceRow) -> GroupVersionKind {
    let elsewhere = ["Scale": "autoscaling", "Eviction": "policy", "TokenRequest": "authentication.k8s.io"]
    guard row.subresource != nil, let group = elsewhere[row.kind] else {
      return GroupVersionKind(group: row.group, version: row.version, kind: row.kind)
    }
    return GroupVersionKind(group: group, version: "v1", kind: row.kind)
  }
}

/// Names a document by its content: equal documents have equal names. Not for secrets.
package enum ContentHash {
  /// 32 hexadecimal digits, upper case: two FNV-1a hashes of 64 bits with different starts.
  package static func of(_ bytes: [UInt8]) -> String {
    var first: UInt64 = 0xCBF2_9CE4_8422_2325
    var second: UInt64 = 0x6C62_272E_07BB_0142
    for byte in bytes {
      first = (first ^ UInt64(byte)) &* 0x100_0000_01B3
      second = (second ^ UInt64(byte ^ 0x5A)) &* 0x100_0000_01B3
    }
    return [first, second].map { hash in
      let digits = String(hash, radix: 16, uppercase: true)
      return String(repeating: "0", count: 16 - digits.count) + digits
    }.joined()
  }
}
