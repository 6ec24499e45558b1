import JSON
import KubeClient
import Kernel

/// Reads, lists and writes, in rounds.
final class APILoad {
  private static let pods = 500
  private static let podsPath = "/api/v1/namespaces/default/pods"
  private static let configMapsPath = "/api/v1/namespaces/default/configmaps"
  private static let widthOfReads = 16
  private static let widthOfLists = 4
  private static let protobuf = "application/vnd.kubernetes.protobuf"

  private let server: BenchServer
  private var series: [String: RequestSeries] = [:]
  private var listBytes: [String: Int] = [:]
  private var takesProtobuf = false

  init(server: BenchServer) { self.server = server }

  /// Makes the pods.
  func prepare() async throws {
    let connection = try APIConnection(kubeconfig: server.kubeconfig)
    try await measure("prepare", width: Self.widthOfReads, .times(Self.pods)) { number in
      try await connection.send(
        KubeRequest(
          .post, Self.podsPath, headers: [("Content-Type", "application/json")],
          body: APIObjects.pod("pod-\(number)").encoded()))
    }
    let answer = try await connection.send(Self.list(accept: "\(Self.protobuf), application/json"))
    takesProtobuf = answer.type.hasPrefix(Self.protobuf)
  }

  func round(_ time: Duration, objects: Int) async throws {
    let connection = try APIConnection(kubeconfig: server.kubeconfig)
    // The connection is made, and the server has read its files.
    try await connection.send(Self.list(accept: "application/json"))
    for (name, width) in [("get1", 1), ("get16", Self.widthOfReads)] {
      try await measure(name, width: width, .until(time)) { number in
        try await connection.send(KubeRequest(.get, "\(Self.podsPath)/pod-\(number % Self.pods + 1)"))
      }
    }
    for (name, type) in [("list500", "application/json"), ("list500_protobuf", Self.protobuf)] {
      guard name == "list500" || takesProtobuf else { continue }
      let request = Self.list(accept: type)
      listBytes[name] = try await connection.send(request).bytes
      try await measure(name, width: 1, .until(time)) { _ in try await connection.send(request) }
      try await measure("\(name)_together", width: Self.widthOfLists, .until(time)) { _ in
        try await connection.send(request)
      }
    }
    try await writes(connection, objects)
  }

  private func writes(_ connection: APIConnection, _ objects: Int) async throws {
    for (name, method) in [("create", KubeRequest.Method.post), ("update", .put), ("delete", .delete)] {
      try await measure(name, width: Self.widthOfReads, .times(objects)) { number in
        let object = "map-\(number)"
        var request = KubeRequest(method, Self.configMapsPath, headers: [("Content-Type", "application/json")])
        if method != .post { request.path += "/\(object)" }
        if method != .delete { request.body = APIObjects.configMap(object, value: name).encoded() }
        try await connection.send(request)
      }
    }
  }

  private func measure(
    _ name: String, width: Int, _ extent: RequestSeries.Extent,
    _ once: @escaping @Sendable (Int) async throws -> Void
  ) async throws {
    var all = series[name] ?? RequestSeries()
    do {
      try await all.add(width: width, extent, server: server.processID, once)
    } catch {
      throw BenchError("\(name): \(error)")
    }
    series[name] = all
  }

  func show(in report: inout Report) {
    for name in ["get1", "get16", "create", "update", "delete"] {
      guard let all = series[name] else { continue }
      report.set("\(name)_per_s", all.perSecond)
      report.set("\(name)_p50_ms", all.latencies.median)
      report.set("\(name)_p99_ms", all.latencies.percentile(0.99))
      report.set(name == "get1" ? "get_cpu_us" : "\(name)_cpu_us", all.cpuMicroseconds)
      report.set("\(name)_client_cpu_us", all.clientCPUMicroseconds)
    }
    for name in ["list500", "list500_protobuf"] {
      guard let alone = series[name], let together = series["\(name)_together"] else { continue }
      report.set("\(name)_ms", alone.latencies.median)
      report.set("\(name)_min_ms", alone.latencies.minimum)
      report.set("\(name)_per_s", together.perSecond)
      report.set("\(name)_cpu_ms", together.cpuMicroseconds / 1000)
      report.set("\(name)_client_cpu_ms", together.clientCPUMicroseconds / 1000)
      report.set("\(name)_kb", Double(listBytes[name] ?? 0) / 1000)
    }
  }

  private static func list(accept: String) -> KubeRequest {
    KubeRequest(.get, podsPath, headers: [("Accept", accept)])
  }
}

/// What is written.
enum APIObjects {
  static func configMap(_ name: String, value: String) -> JSONValue {
    [
      "apiVersion": "v1", "kind": "ConfigMap", "metadata": ["name": .string(name), "namespace": "default"],
      "data": ["value": .string(value + String(repeating: "x", count: 100 - value.utf8.count))],
    ]
  }

  /// About 2 kB when read, as pods of a Deployment are; its scheduler does not exist, so that it stays as it is.
  static func pod(_ name: String) -> JSONValue {
    let variables = (1...12).map { number -> JSONValue in
      ["name": .string("VARIABLE_\(number)"), "value": .string("value-\(number)-of-\(name)")]
    }
    return [
      "apiVersion": "v1", "kind": "Pod",
      "metadata": [
        "name": .string(name), "namespace": "default",
        "labels": ["app": "bench", "pod-template-hash": "7d5b8c9f64", "tier": "backend"],
        "annotations": ["example.org/owner": "the benchmark of Martlet"],
      ],
      "spec": [
        "schedulerName": "nobody",
        "containers": [
          [
            "name": "main", "image": "localhost/true:latest", "command": ["/bin/true"], "args": ["wait"],
            "env": .array(variables),
            "ports": [["containerPort": 80, "name": "http"]],
            "resources": ["requests": ["cpu": "10m", "memory": "16Mi"], "limits": ["memory": "64Mi"]],
          ]
        ],
      ],
    ]
  }
}
