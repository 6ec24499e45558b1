import JSON
import KubeClient
import KubeModel
import Kernel
import Synchronization

/// kubectl with a kubeconfig and a home of its own.
struct Kubectl: Sendable {
  let program: String
  let kubeconfig: String
  let home: String

  private static let timeoutSeconds = 60.0

  func run(_ arguments: [String], input: [UInt8] = []) async throws {
    let outcome = try await ChildProcess.run(
      program, arguments: [program] + arguments,
      environment: ["PATH=/usr/bin:/bin", "HOME=\(home)", "KUBECONFIG=\(kubeconfig)"], input: input,
      timeoutSeconds: Self.timeoutSeconds)
    guard outcome.status == .exited(0) else {
      let errors = String(decoding: outcome.errorOutput.suffix(2000), as: UTF8.self)
      throw BenchError("kubectl \(arguments.joined(separator: " ")): \(outcome.status) \(errors)")
    }
  }
}

/// A Deployment that kubectl applies and deletes, watched from here.
struct BenchDeployment: Sendable {
  private static let name = "bench"
  private static let selection = "app=bench"
  private static let namespace = "default"
  private static let timeout: Duration = .seconds(180)

  let kubectl: Kubectl
  private let client: KubeClient

  init(kubectl: Kubectl, serverSocket: String) {
    self.kubectl = kubectl
    client = KubeClient(transport: .unix(path: serverSocket))
  }

  /// - Returns: milliseconds until all of its pods are ready.
  func apply(_ count: Int) async throws -> Double {
    let manifest = Self.manifest(replicas: count).encoded()
    return try await measured("\(count) pods ready", doing: ["apply", "--filename", "-"], input: manifest) { events in
      var ready: Set<String> = []
      for try await event in events {
        guard let pod = try Self.change(event), let name = pod.object.metadata.name else { continue }
        let isReady = pod.object.status.conditions.contains { $0.type == "Ready" && $0.status == "True" }
        if !pod.isGone && isReady { ready.insert(name) } else { ready.remove(name) }
        if ready.count == count { return }
      }
      throw BenchError("the watch ended when \(ready.count) of \(count) pods were ready")
    }
  }

  /// - Returns: milliseconds until none of its pods is in the API.
  func delete(_ count: Int) async throws -> Double {
    let arguments = ["delete", "deployment", Self.name, "--wait=false"]
    return try await measured("\(count) pods gone", doing: arguments) { events in
      var gone: Set<String> = []
      for try await event in events {
        guard let pod = try Self.change(event), pod.isGone, let name = pod.object.metadata.name else { continue }
        gone.insert(name)
        if gone.count == count { return }
      }
      throw BenchError("the watch ended when \(gone.count) of \(count) pods were gone")
    }
  }

  /// Milliseconds from the start of kubectl until `isDone` returns, which reads what happens to the pods.
  private func measured(
    _ what: String, doing arguments: [String], input: [UInt8] = [],
    until isDone: @escaping @Sendable (KubeWatch<Pod>) async throws -> Void
  ) async throws -> Double {
    var selection = ListOptions()
    selection.labelSelector = Self.selection
    let before = try await client.list(Pod.self, namespace: Self.namespace, selection)
    var options = WatchOptions()
    (options.labelSelector, options.resourceVersion) = (Self.selection, before.resourceVersion)
    let watch = try await client.watch(Pod.self, namespace: Self.namespace, options)
    return try await withDeadline(Self.timeout, what) { [kubectl] in
      let clock = ContinuousClock()
      let begin = clock.now
      return try await withThrowingTaskGroup(of: Double.self) { group in
        group.addTask {
          try await kubectl.run(arguments, input: input)
          return 0
        }
        group.addTask {
          try await isDone(watch)
          return begin.duration(to: clock.now).inMilliseconds
        }
        // Whichever fails ends the other.
        return try await group.reduce(0, max)
      }
    }
  }

  private static func change(_ event: WatchEvent<Pod>) throws -> (object: Pod, isGone: Bool)? {
    switch event {
    case .added(let pod), .modified(let pod): (pod, false)
    case .deleted(let pod): (pod, true)
    case .bookmark: nil
    case .error(let error): throw error
    }
  }

  private static func manifest(replicas: Int) -> JSONValue {
    [
      "apiVersion": "apps/v1", "kind": "Deployment",
      "metadata": ["name": .string(name), "namespace": .string(namespace)],
      "spec": [
        "replicas": .integer(Int64(replicas)),
        "selector": ["matchLabels": ["app": "bench"]],
        "template": [
          "metadata": ["labels": ["app": "bench"]],
          "spec": [
            // Not the first process of its namespace, the program ends by SIGTERM without a handler.
            "shareProcessNamespace": true,
            "terminationGracePeriodSeconds": 5,
            "containers": [
              [
                "name": "main", "image": .string(Requests.image), "imagePullPolicy": "Never",
                "command": ["/bin/true"], "args": ["wait"],
              ]
            ],
          ],
        ],
      ],
    ]
  }
}
