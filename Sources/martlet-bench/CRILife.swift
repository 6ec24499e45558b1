import CRIClient
import CRIModel
import Kernel

/// A call of a pod's and its container's life, in the order in which they are made.
enum CRICall: String, CaseIterable {
  case runPodSandbox = "run_pod_sandbox"
  case createContainer = "create_container"
  case startContainer = "start_container"
  case execSync = "exec_sync"
  case stopContainer = "stop_container"
  case removeContainer = "remove_container"
  case stopPodSandbox = "stop_pod_sandbox"
  case removePodSandbox = "remove_pod_sandbox"

  /// What a pod's user waits for until it runs.
  static let start: [CRICall] = [.runPodSandbox, .createContainer, .startContainer]
  /// What a pod's user waits for until it is gone.
  static let stop: [CRICall] = [.stopContainer, .removeContainer, .stopPodSandbox, .removePodSandbox]
}

/// A socket that speaks CRI v1, ours or another's, and what is asked of it.
struct CRIEndpoint: Sendable {
  let name: String
  /// Of several connections each serves a few lives: a server in Go measures the bandwidth with a ping a call, and the
  /// client's HTTP/2 takes more than 200 of them in 30 seconds for an attack.
  private let clients: [CRIClient]
  /// Where the logs of its pods go.
  let logs: String
  var image = Requests.image
  /// A container's program, which runs until it is killed, and one that ends at once.
  var command = ["/bin/true", "wait"]
  var execCommand = ["/bin/true"]
  /// Above the cgroups of its pods; empty for the server's own choice.
  var cgroupParent = ""
  private let serial = Serial()

  private static let livesOfAConnection = 10

  private init(name: String, clients: [CRIClient], logs: String) {
    self.name = name
    self.clients = clients
    self.logs = logs
  }

  /// Runs `body` with connections for that many lives, then closes them.
  /// - Parameter name: nil is what the server calls itself.
  static func connected<Result: Sendable>(
    to path: String, as name: String?, lives: Int, logs: String, _ body: (CRIEndpoint) async throws -> Result
  ) async throws -> Result {
    let clients = try (0...(lives / livesOfAConnection)).map { _ in try CRIClient(socketPath: path) }
    return try await withThrowingTaskGroup(of: Void.self) { group in
      for client in clients { group.addTask { try await client.run() } }
      defer {
        for client in clients { client.close() }
        group.cancelAll()
      }
      let known: String
      if let name { known = name } else { known = try await clients[0].version().runtimeName }
      return try await body(CRIEndpoint(name: known, clients: clients, logs: logs))
    }
  }

  /// For what is asked once.
  var client: CRIClient { clients[0] }

  private func client(of life: Int) -> CRIClient { clients[life / Self.livesOfAConnection % clients.count] }

  /// Pulls the image where it is not there yet.
  /// - Throws: `BenchError` that says what to do where that is not possible.
  func requireImage() async throws {
    if try await client.imageStatus(image).hasImage { return }
    do {
      _ = try await client.pullImage(image)
    } catch {
      throw BenchError("\(name) has no image \(image) and cannot pull it (\(error)); load it, or name another: --image")
    }
  }

  /// A pod through all of its calls; the milliseconds of each. What was made is removed where one fails.
  func live() async throws -> [CRICall: Double] {
    let number = serial.next()
    let (pod, client) = (pod(number), client(of: number))
    var times: [CRICall: Double] = [:]
    var sandbox = ""
    var container = ""
    func timed(_ call: CRICall, _ body: () async throws -> Void) async throws {
      do {
        times[call] = try await milliseconds(body)
      } catch {
        throw BenchError("\(name), \(call.rawValue): \(error)")
      }
    }
    do {
      try await timed(.runPodSandbox) { sandbox = try await client.runPodSandbox(pod) }
      try await timed(.createContainer) {
        container = try await client.createContainer(podSandboxID: sandbox, config: mainContainer, sandboxConfig: pod)
      }
      try await timed(.startContainer) { try await client.startContainer(container) }
      try await timed(.execSync) {
        let outcome = try await client.execSync(container, command: execCommand)
        guard outcome.exitCode == 0 else { throw BenchError("\(execCommand) ended with \(outcome.exitCode)") }
      }
      // Its process is the first of its namespace: another signal than SIGKILL would be ignored.
      try await timed(.stopContainer) { try await client.stopContainer(container, graceSeconds: 0) }
      try await timed(.removeContainer) { try await client.removeContainer(container) }
      try await timed(.stopPodSandbox) { try await client.stopPodSandbox(sandbox) }
      try await timed(.removePodSandbox) { try await client.removePodSandbox(sandbox) }
    } catch {
      if !sandbox.isEmpty { try? await stop(sandbox) }
      throw error
    }
    return times
  }

  /// RunPodSandbox, CreateContainer and StartContainer.
  /// - Returns: the sandbox's id.
  func start() async throws -> String {
    let number = serial.next()
    let (pod, client) = (pod(number), client(of: number))
    let sandbox = try await client.runPodSandbox(pod)
    let container = try await client.createContainer(podSandboxID: sandbox, config: mainContainer, sandboxConfig: pod)
    try await client.startContainer(container)
    return sandbox
  }

  /// StopPodSandbox and RemovePodSandbox of a pod that runs.
  func stop(_ sandbox: String) async throws {
    let client = client(of: serial.next())
    try await client.stopPodSandbox(sandbox)
    try await client.removePodSandbox(sandbox)
  }

  private func pod(_ number: Int) -> CRIPodSandboxConfig {
    var pod = Requests.pod(number, logs: logs)
    pod.linux.cgroupParent = cgroupParent
    return pod
  }

  private var mainContainer: CRIContainerConfig {
    var config = Requests.container("main", waits: true)
    config.image.image = image
    config.command = Array(command.prefix(1))
    config.args = Array(command.dropFirst())
    return config
  }
}

/// Times of whole lives on one socket.
struct LifeSeries: Sendable {
  private(set) var calls: [CRICall: Series] = [:]
  private(set) var start = Series()
  private(set) var stop = Series()

  mutating func add(_ life: [CRICall: Double]) {
    for (call, time) in life { calls[call, default: Series()].add(time) }
    start.add(CRICall.start.reduce(0) { $0 + (life[$1] ?? .nan) })
    stop.add(CRICall.stop.reduce(0) { $0 + (life[$1] ?? .nan) })
  }

  /// The figures, in the order of the calls, with the sums at the end.
  var figures: [(name: String, series: Series)] {
    CRICall.allCases.map { ($0.rawValue, calls[$0] ?? Series()) } + [("pod_start", start), ("pod_stop", stop)]
  }
}
