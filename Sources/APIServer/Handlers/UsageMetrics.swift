import HTTPServer
import JSON
import KubeModel
import KubeSchema
import Logging
import ObjectStore

/// What nodes and pods use: `metrics.k8s.io`, asked of the nodes when it is asked for.
///
/// https://kubernetes.io/docs/tasks/debug/debug-cluster/resource-metrics-pipeline/
enum UsageMetrics {
  static let group = "metrics.k8s.io"
  static let version = "v1beta1"
  static let apiVersion = "\(group)/\(version)"

  static let rows = [
    ResourceRow(
      custom: group, version: version, resource: "nodes", singular: "", kind: "NodeMetrics", isNamespaced: false,
      verbs: ["get", "list"], shortNames: [], categories: []),
    ResourceRow(
      custom: group, version: version, resource: "pods", singular: "", kind: "PodMetrics", isNamespaced: true,
      verbs: ["get", "list"], shortNames: [], categories: []),
  ]

  /// CPU and memory as quantities; nil where the node has not measured them.
  static func usage(_ measured: JSONValue) -> JSONValue? {
    guard let cpu = measured["cpu"]?["usageNanoCores"]?.integer,
      let memory = measured["memory"]?["workingSetBytes"]?.integer
    else { return nil }
    return ["cpu": .string("\(cpu)n"), "memory": .string("\(memory / 1024)Ki")]
  }

  /// Nodes rate over about this.
  private static let window: JSONValue = "10s"

  static func node(_ summary: JSONValue, _ node: JSONValue, now: Int64) -> JSONValue? {
    guard let usage = summary["node"].flatMap(Self.usage) else { return nil }
    return [
      "kind": "NodeMetrics", "apiVersion": .string(apiVersion), "metadata": metadata(node, now),
      "timestamp": .string(ObjectNames.time(now)), "window": window, "usage": usage,
    ]
  }

  static func pod(_ measured: JSONValue, _ pod: JSONValue, now: Int64) -> JSONValue? {
    let containers = (measured["containers"]?.array ?? []).compactMap { container -> JSONValue? in
      guard let usage = Self.usage(container) else { return nil }
      return ["name": container["name"] ?? "", "usage": usage]
    }
    guard !containers.isEmpty else { return nil }
    return [
      "kind": "PodMetrics", "apiVersion": .string(apiVersion), "metadata": metadata(pod, now),
      "timestamp": .string(ObjectNames.time(now)), "window": window, "containers": .array(containers),
    ]
  }

  private static func metadata(_ object: JSONValue, _ now: Int64) -> JSONValue {
    var metadata: JSONObject = ["name": .string(object.text("metadata", "name"))]
    if let namespace = object["metadata"]?["namespace"] { metadata["namespace"] = namespace }
    metadata["creationTimestamp"] = .string(ObjectNames.time(now))
    if let labels = object["metadata"]?["labels"] { metadata["labels"] = labels }
    return .object(metadata)
  }
}

extension APIServer {
  /// Of what a node tells.
  private static let summaryBytesMax = 16 << 20

  /// GET below `/apis/metrics.k8s.io/v1beta1`.
  func usage(_ request: HTTPRequest, _ info: RequestInfo) async throws(APIStatus) -> HTTPResponse {
    guard info.version == UsageMetrics.version, info.subresource.isEmpty,
      let row = UsageMetrics.rows.first(where: { $0.resource == info.resource })
    else { return Self.pageNotFound }
    let resource = QualifiedResource(group: UsageMetrics.group, resource: info.resource)
    guard info.verb == "get" || info.verb == "list" else { throw .methodNotAllowed(resource) }
    let options = try ListOptions(info.verb == "list" ? request.query : HTTPQuery(), isWatch: false)
    var found = row.resource == "nodes" ? await nodeUsage(info.name) : await podUsage(info)
    found = found.filter { options.labels.matches($0["metadata"]?["labels"]?.stringMap ?? [:]) }
    let encoding = Encoding.json
    if info.verb == "get" {
      guard let one = found.first else { throw .notFound(resource, info.name) }
      return encoded(one, encoding)
    }
    return encoded(
      [
        "kind": .string("\(row.kind)List"), "apiVersion": .string(UsageMetrics.apiVersion), "metadata": [:],
        "items": .array(found),
      ], encoding)
  }

  private func nodeUsage(_ name: String) async -> [JSONValue] {
    await summaries(of: name.isEmpty ? nil : [name]).compactMap { summary, node in
      UsageMetrics.node(summary, node, now: configuration.now())
    }
  }

  private func podUsage(_ info: RequestInfo) async -> [JSONValue] {
    var pods: [String: JSONValue] = [:]
    var nodes: Set<String> = []
    let prefix = info.namespace.isEmpty ? "/pods/" : "/pods/\(info.namespace)/"
    for stored in store.list(prefix: prefix).objects {
      guard let pod = try? JSONValue.parse(stored.value) else { continue }
      let name = pod.text("metadata", "name")
      guard info.name.isEmpty || info.name == name else { continue }
      pods["\(pod.text("metadata", "namespace"))/\(name)"] = pod
      nodes.insert(pod.text("spec", "nodeName"))
    }
    var found: [JSONValue] = []
    for (summary, _) in await summaries(of: nodes) {
      for measured in summary["pods"]?.array ?? [] {
        let reference = measured["podRef"] ?? [:]
        guard let pod = pods["\(reference.text("namespace"))/\(reference.text("name"))"],
          reference.text("uid") == pod.text("metadata", "uid"),
          let usage = UsageMetrics.pod(measured, pod, now: configuration.now())
        else { continue }
        found.append(usage)
      }
    }
    return found.sorted {
      ($0.text("metadata", "namespace"), $0.text("metadata", "name"))
        < ($1.text("metadata", "namespace"), $1.text("metadata", "name"))
    }
  }

  /// What the nodes say, all asked at once; those that do not answer are left out. - Parameter names: nil for all.
  private func summaries(of names: Set<String>?) async -> [(summary: JSONValue, node: JSONValue)] {
    let nodes = store.list(prefix: "/nodes/").objects.compactMap { try? JSONValue.parse($0.value) }
      .filter { names?.contains($0.text("metadata", "name")) ?? true }
    return await withTaskGroup(of: (JSONValue, JSONValue)?.self) { group in
      for node in nodes {
        group.addTask {
          guard let summary = await self.summary(of: node.text("metadata", "name")) else { return nil }
          return (summary, node)
        }
      }
      var found: [(summary: JSONValue, node: JSONValue)] = []
      for await one in group { if let one { found.append(one) } }
      return found.sorted { $0.node.text("metadata", "name") < $1.node.text("metadata", "name") }
    }
  }

  private func summary(of node: String) async -> JSONValue? {
    do {
      let answer = try await HTTPDialer.send(
        method: "GET", target: "/stats/summary", headers: ["Accept": "application/json"], to: try nodeEnd(node),
        timeoutSeconds: 10)
      defer { answer.tunnel.close() }
      var bytes: [UInt8] = []
      while bytes.count < Self.summaryBytesMax, let more = try await answer.tunnel.read() { bytes += more }
      guard answer.status == 200 else {
        logger.warning("GET(/stats/summary of \(node)): \(answer.status); its usage is not told")
        return nil
      }
      return try JSONValue.parse(bytes)
    } catch {
      logger.warning("GET(/stats/summary of \(node)): \(error); its usage is not told")
      return nil
    }
  }
}
