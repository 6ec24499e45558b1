import ArgumentParser
import CRIClient
import CRIModel
import Kernel

/// `martlet stop`: end containers, or pods with all that is in them.
struct StopCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "stop",
    abstract: "Stop containers or pods.",
    discussion: """
      A container gets its stop signal, and after the grace period it is killed. A pod's containers are stopped the
      same way, then its network goes. Stopping what has ended already is a success.

      EXAMPLES
        martlet stop web              pod or container web
        martlet stop --grace 0 web    kill at once
      """)

  @Option(help: ArgumentHelp("Between the stop signal and the kill.", valueName: "seconds"))
  var grace: Int64 = 10

  @Argument(help: "Containers or pods: names, pod/container, or beginnings of ids.")
  var targets: [String]

  @OptionGroup var connection: ConnectionOptions

  func validate() throws {
    if grace < 0 { throw ValidationError("--grace takes a number of seconds, 0 or more") }
  }

  func run() async throws {
    try await connection.withClient { client in
      let inventory = try await Inventory.load(client)
      for target in try targets.map({ word throws(Failure) in try inventory.find(word) }) {
        try await target.stop(client, inventory, graceSeconds: grace)
        try Console.line(target.path(in: inventory))
      }
    }
  }
}

/// `martlet rm`: remove containers, or pods with all that is in them.
struct RmCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "rm",
    abstract: "Remove containers or pods.",
    discussion: """
      When it returns, nothing of them is left. What runs is removed only with --force, which stops it first.

      EXAMPLES
        martlet rm web         a stopped pod
        martlet rm -f web      stop it, then remove it
        martlet rm -f --all    every pod on this node
      """)

  @Flag(name: [.short, .long], help: "Stop what runs first.")
  var force = false

  @Flag(help: "Every pod.")
  var all = false

  @Option(help: ArgumentHelp("With --force: between the stop signal and the kill.", valueName: "seconds"))
  var grace: Int64 = 10

  @Argument(help: "Containers or pods: names, pod/container, or beginnings of ids.")
  var targets: [String] = []

  @OptionGroup var connection: ConnectionOptions

  func validate() throws {
    if all == !targets.isEmpty { throw ValidationError("name what to remove, or say --all") }
  }

  func run() async throws {
    try await connection.withClient { client in
      let inventory = try await Inventory.load(client)
      let chosen =
        try all
        ? inventory.pods.map(Inventory.Target.pod) : targets.map { word throws(Failure) in try inventory.find(word) }
      for target in chosen {
        let path = target.path(in: inventory)
        if target.runs(in: inventory) {
          guard force else {
            throw Failure("\(path) is running", hint: "stop it first, or remove it with martlet rm --force")
          }
          try await target.stop(client, inventory, graceSeconds: grace)
        }
        switch target {
        case .pod(let pod):
          try await client.stopPodSandbox(pod.id)
          try await client.removePodSandbox(pod.id)
        case .container(let container): try await client.removeContainer(container.id)
        }
        try Console.line(path)
      }
    }
  }
}

extension Inventory.Target {
  func path(in inventory: Inventory) -> String {
    switch self {
    case .pod(let pod): pod.path
    case .container(let container): inventory.path(of: container)
    }
  }

  func runs(in inventory: Inventory) -> Bool {
    switch self {
    case .pod(let pod): pod.ready
    case .container(let container): container.state == .running
    }
  }

  /// Stops a container, or a pod's containers all at once and then the pod.
  func stop(_ client: CRIClient, _ inventory: Inventory, graceSeconds: Int64) async throws {
    switch self {
    case .container(let container):
      try await client.stopContainer(container.id, graceSeconds: graceSeconds)
    case .pod(let pod):
      // StopPodSandbox kills without grace, so each container gets its own first.
      let running = inventory.containers(of: pod).filter { $0.state == .running }
      try await withThrowingTaskGroup(of: Void.self) { group in
        for container in running {
          group.addTask { try await client.stopContainer(container.id, graceSeconds: graceSeconds) }
        }
        try await group.waitForAll()
      }
      try await client.stopPodSandbox(pod.id)
    }
  }
}
