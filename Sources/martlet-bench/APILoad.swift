import JSON
import KubeClient
import Kernel

/// Requests of one kind, over all rounds.
struct RequestSeries: Sendable {
  private(set) var latencies = Series()
  private(set) var seconds = 0.0
  private(set) var serverMicroseconds = 0.0
  private(set) var clientMicroseconds = 0.0

  var perSecond: Double { Double(latencies.milliseconds.count) / seconds }
  var cpuMicroseconds: Double { serverMicroseconds / Double(latencies.milliseconds.count) }
  var clientCPUMicroseconds: Double { clientMicroseconds / Double(latencies.milliseconds.count) }

  mutating func add(
    _ target: APITarget, _ connection: APIConnection, width: Int, _ extent: APIConnection.Extent,
    _ request: @escaping @Sendable (Int) -> KubeRequest
  ) async throws {
    let clock = ContinuousClock()
    let (server, client) = (try target.cpuMicroseconds(), try ProcessUse.cpuMicroseconds(CurrentProcess.id))
    let begin = clock.now
    let times = try await connection.run(width: width, extent, request)
    seconds += begin.duration(to: clock.now).inMilliseconds / 1000
    for time in times { latencies.add(time) }
    serverMicroseconds += try target.cpuMicroseconds() - server
    clientMicroseconds += try ProcessUse.cpuMicroseconds(CurrentProcess.id) - client
  }
}

/// Reads, lists and writes, in rounds.
final class APILoad {
  private static let pods = 500
  private static let podsPath = "/api/v1/namespaces/default/pods"
  static let configMapsPath = "/api/v1/namespaces/default/configmaps"
  private static let widthOfReads = 16
  private static let widthOfLists = 4
  private static let protobuf = "application/vnd.kubernetes.protobuf"

  private let target: APITarget
  private var series: [String: RequestSeries] = [:]
  private var listBytes: [String: Int] = [:]
  private var takesProtobuf = false

  init(target: APITarget) { self.target = target }

  /// Makes the pods.
  func prepare() async throws {
    let connection = try await APIConnection.open(target)
    defer { connection.close() }
    try await measure("prepare", connection, width: Self.widthOfReads, .times(Self.pods)) { number in
      KubeRequest(
        .post, Self.podsPath, headers: [Self.jsonType], body: APIObjects.pod("pod-\(number)").encoded())
    }
    let answer = try await connection.send(Self.list(accept: "\(Self.protobuf), application/json"))
    takesProtobuf = answer.type.hasPrefix(Self.protobuf)
  }

  /// Takes the pods away again, from a server that goes on.
  func cleanUp() async throws {
    let connection = try await APIConnection.open(target)
    defer { connection.close() }
    let now: JSONValue = ["kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0]
    try await measure("clean up", connection, width: Self.widthOfReads, .times(Self.pods)) { number in
      KubeRequest(.delete, "\(Self.podsPath)/pod-\(number)", headers: [Self.jsonType], body: now.encoded())
    }
  }

  func round(_ time: Duration, objects: Int) async throws {
    let connection = try await APIConnection.open(target)
    defer { connection.close() }
    // The connection is made, and the server has read its files.
    try await connection.send(Self.list(accept: "application/json"))
    for (name, width) in [("get1", 1), ("get16", Self.widthOfReads)] {
      try await measure(name, connection, width: width, .until(time)) { number in
        KubeRequest(.get, "\(Self.podsPath)/pod-\(number % Self.pods + 1)")
      }
    }
    for (name, type) in [("list500", "application/json"), ("list500_protobuf", Self.protobuf)] {
      guard name == "list500" || takesProtobuf else { continue }
      let request = Self.list(accept: type)
      listBytes[name] = try await connection.send(request).bytes
      try await measure(name, connection, width: 1, .until(time)) { _ in request }
      try await measure("\(name)_together", connection, width: Self.widthOfLists, .until(time)) { _ in request }
    }
    try await writes(connection, objects)
  }

  private static let jsonType = (name: "Content-Type", value: "application/json")

  private func writes(_ connection: APIConnection, _ objects: Int) async throws {
    for (name, method) in [
      ("create", KubeRequest.Method.post), ("update", .put), ("patch", .patch), ("delete", .delete),
    ] {
      try await measure(name, connection, width: Self.widthOfReads, .times(objects)) { number in
        Self.write(name, method, "map-\(number)")
      }
    }
  }

  private static func write(_ name: String, _ method: KubeRequest.Method, _ object: String) -> KubeRequest {
    var request = KubeRequest(method, configMapsPath, headers: [jsonType])
    if method != .post { request.path += "/\(object)" }
    switch method {
    case .patch:
      request.headers = [("Content-Type", "application/merge-patch+json")]
      request.body = JSONValue.object(["data": ["value": .string(name)]]).encoded()
    case .delete, .get: break
    case .post, .put: request.body = APIObjects.configMap(object, value: name).encoded()
    }
    return request
  }

  private func measure(
    _ name: String, _ connection: APIConnection, width: Int, _ extent: APIConnection.Extent,
    _ request: @escaping @Sendable (Int) -> KubeRequest
  ) async throws {
    var all = series[name] ?? RequestSeries()
    do {
      try await all.add(target, connection, width: width, extent, request)
    } catch {
      throw BenchError("\(name): \(error)")
    }
    series[name] = all
  }

  /// What many objects take: ConfigMaps that are made and kept, and all of them read as one list.
  func keep(_ count: Int, _ report: inout Report) async throws {
    guard let process = target.processID else { return }
    let connection = try await APIConnection.open(target)
    defer { connection.close() }
    let before = try ProcessMemory.of(process).residentKilobytes
    try await measure("kept", connection, width: Self.widthOfReads, .times(count)) { number in
      Self.write("kept", .post, "kept-\(number)")
    }
    let after = try ProcessMemory.of(process).residentKilobytes
    report.set("kept_objects", count)
    report.set("kept_create_per_s", series["kept"]?.perSecond ?? .nan)
    report.set("kept_memory_mb", megabytes(kilobytes: after - before))
    let list = KubeRequest(.get, Self.configMapsPath, headers: [("Accept", "application/json")])
    try await measure("kept list", connection, width: 1, .times(Self.keptLists)) { _ in list }
    report.set("kept_list_ms", series["kept list"]?.latencies.median ?? .nan)
  }

  private static let keptLists = 3

  func show(in report: inout Report) {
    for name in ["get1", "get16", "create", "update", "patch", "delete"] {
      guard let all = series[name] else { continue }
      report.set("\(name)_per_s", all.perSecond)
      report.set("\(name)_p50_ms", all.latencies.median)
      report.set("\(name)_p99_ms", all.latencies.percentile(0.99))
      showUse(name == "get1" ? "get" : name, all, in: &report)
    }
    for name in ["list500", "list500_protobuf"] {
      guard let alone = series[name], let together = series["\(name)_together"] else { continue }
      report.set("\(name)_ms", alone.latencies.median)
      report.set("\(name)_min_ms", alone.latencies.minimum)
      report.set("\(name)_per_s", together.perSecond)
      if target.processID != nil { report.set("\(name)_cpu_ms", together.cpuMicroseconds / 1000) }
      report.set("\(name)_client_cpu_ms", together.clientCPUMicroseconds / 1000)
      report.set("\(name)_kb", Double(listBytes[name] ?? 0) / 1000)
    }
  }

  private func showUse(_ name: String, _ all: RequestSeries, in report: inout Report) {
    if target.processID != nil { report.set("\(name)_cpu_us", all.cpuMicroseconds) }
    report.set("\(name)_client_cpu_us", all.clientCPUMicroseconds)
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

  /// About 2.5 kB when read, with who manages which of its fields, where the peer's had 2; its scheduler does not
  /// exist, so that it stays as it is.
  static func pod(_ name: String) -> JSONValue {
    let variables = (1...2).map { number -> JSONValue in
      ["name": .string("VARIABLE_\(number)"), "value": .string("value-\(number)-of-\(name)")]
    }
    return [
      "apiVersion": "v1", "kind": "Pod",
      "metadata": [
        "name": .string(name), "namespace": "default",
        "labels": ["app": "bench", "pod-template-hash": "7d5b8c9f64"],
      ],
      "spec": [
        "schedulerName": "nobody",
        "containers": [
          [
            "name": "main", "image": "localhost/true:latest", "command": ["/bin/true"], "env": .array(variables),
            "resources": ["requests": ["cpu": "10m", "memory": "16Mi"]],
          ]
        ],
      ],
    ]
  }
}
