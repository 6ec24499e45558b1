import ArgumentParser
import CRIClient
import CRIModel
import JSON
import Kernel

/// `martlet pod`: pods by their CRI configuration.
struct PodCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "pod",
    abstract: "Run and manage pods from CRI configurations.",
    discussion: "For Kubernetes manifests see martlet play.",
    subcommands: [Run.self, List.self, Inspect.self, Stop.self, Remove.self])

  struct Run: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "run",
      abstract: "Run a pod from JSON files, as crictl takes them.",
      discussion: """
        The first file is a PodSandboxConfig, each further one a ContainerConfig. A field that neither has is an error.
        Prints the pod's id, then those of its containers. Where a step fails, the pod is removed again.

        EXAMPLES
          martlet pod run pod.json app.json
          echo '{"metadata":{"name":"a","namespace":"default","uid":"1"}}' > p.json; martlet pod run p.json
        """)

    @Flag(help: "Leave a pod that could not be started whole, to look at it.")
    var keep = false

    @Flag(help: "Pull images that are not there.")
    var pull = false

    @Argument(help: ArgumentHelp("The pod's configuration.", valueName: "pod.json"))
    var pod: String

    @Argument(help: ArgumentHelp("Its containers' configurations.", valueName: "container.json"))
    var containers: [String] = []

    @OptionGroup var connection: ConnectionOptions

    func run() async throws {
      let sandbox = try Messages.read(CRIPodSandboxConfig.self, from: pod)
      let configs = try containers.map { try Messages.read(CRIContainerConfig.self, from: $0) }
      try await connection.withClient { client in
        if pull { try await pullMissing(configs, client) }
        let id = try await client.runPodSandbox(sandbox)
        try Console.line(id)
        do {
          for config in configs {
            let container = try await client.createContainer(podSandboxID: id, config: config, sandboxConfig: sandbox)
            try await client.startContainer(container)
            try Console.line(container)
          }
        } catch {
          guard keep else {
            // The first error is the one to tell.
            try? await client.stopPodSandbox(id)
            try? await client.removePodSandbox(id)
            throw error
          }
          Console.note("the pod stays, as asked: martlet rm -f \(Units.shortID(id))")
          throw error
        }
      }
    }

    private func pullMissing(_ configs: [CRIContainerConfig], _ client: CRIClient) async throws {
      for image in Set(configs.map(\.image.image)).sorted() where !image.isEmpty {
        if try await client.imageStatus(image).hasImage { continue }
        _ = try await client.pullImage(image)
      }
    }
  }

  struct List: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "ls", abstract: "List pods.",
      discussion: """
        EXAMPLES
          martlet pod ls -a
        """)

    @Flag(name: [.short, .long], help: "Also pods that are not ready.")
    var all = false

    @Flag(name: [.short, .long], help: "Only ids, one a line.")
    var quiet = false

    @Option(name: [.short, .long], help: "Only pods of this namespace.")
    var namespace: String?

    @OptionGroup var outputOptions: OutputOptions
    @OptionGroup var connection: ConnectionOptions

    func run() async throws {
      let inventory = try await connection.withClient { client in
        var inventory = try await Inventory.load(client).filtered(all: all, namespace: namespace)
        inventory.containers = []
        if !quiet { try await inventory.addDetails(client) }
        return inventory
      }
      if quiet {
        for pod in inventory.pods { try Console.line(pod.id) }
        return
      }
      let format = outputOptions.format()
      if format != .table {
        let value = (inventory.json.array ?? []).map { pod in
          var pod = pod.object ?? JSONObject()
          pod["containers"] = nil
          return JSONValue.object(pod)
        }
        return try Console.value(.array(value), as: format)
      }
      let now = SystemClock.wallNanoseconds
      try Console.out(inventory.podTable(nowNanoseconds: now).text(Style(enabled: outputOptions.styled(.output))))
    }
  }

  struct Inspect: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "inspect", abstract: "Show everything about pods.",
      discussion: """
        EXAMPLES
          martlet pod inspect web
        """)

    @Argument(help: "Pods: names or beginnings of ids.")
    var pods: [String]

    @OptionGroup var outputOptions: OutputOptions
    @OptionGroup var connection: ConnectionOptions

    func run() async throws {
      let values = try await connection.withClient { client in
        let inventory = try await Inventory.load(client)
        var values: [JSONValue] = []
        for pod in pods { values.append(try await InspectCommand.pod(try inventory.pod(pod).id, client)) }
        return values
      }
      try Console.value(values.count == 1 ? values[0] : .array(values), as: outputOptions.format(default: .json))
    }
  }

  struct Stop: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "stop", abstract: "Stop pods.",
      discussion: """
        EXAMPLES
          martlet pod stop web
        """)

    @Option(help: ArgumentHelp("Between the stop signal and the kill.", valueName: "seconds"))
    var grace: Int64 = 10

    @Argument(help: "Pods: names or beginnings of ids.")
    var pods: [String]

    @OptionGroup var connection: ConnectionOptions

    func run() async throws {
      try await connection.withClient { client in
        let inventory = try await Inventory.load(client)
        for pod in try pods.map({ word throws(Failure) in try inventory.pod(word) }) {
          try await Inventory.Target.pod(pod).stop(client, inventory, graceSeconds: max(0, grace))
          try Console.line(pod.path)
        }
      }
    }
  }

  struct Remove: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "rm", abstract: "Remove pods.",
      discussion: """
        EXAMPLES
          martlet pod rm -f web
        """)

    @Flag(name: [.short, .long], help: "Stop what runs first.")
    var force = false

    @Argument(help: "Pods: names or beginnings of ids.")
    var pods: [String]

    @OptionGroup var connection: ConnectionOptions

    func run() async throws {
      try await connection.withClient { client in
        let inventory = try await Inventory.load(client)
        for pod in try pods.map({ word throws(Failure) in try inventory.pod(word) }) {
          if pod.ready {
            guard force else { throw Failure("\(pod.path) is running", hint: "stop it first, or say --force") }
            try await Inventory.Target.pod(pod).stop(client, inventory, graceSeconds: 10)
          }
          try await client.stopPodSandbox(pod.id)
          try await client.removePodSandbox(pod.id)
          try Console.line(pod.path)
        }
      }
    }
  }
}

extension Inventory {
  func podTable(nowNanoseconds now: Int64) -> Table {
    var table = Table(["POD", "ID", "STATE", "AGE", "ADDRESS"])
    table.rows = pods.map { pod in
      [
        Table.Cell(pod.path), Table.Cell(Units.shortID(pod.id)),
        pod.ready ? Table.Cell("Ready", .good) : Table.Cell("NotReady", .faint),
        Table.Cell(Units.age(nanoseconds: now - pod.createdNanoseconds)),
        Table.Cell(pod.addresses.joined(separator: ",")),
      ]
    }
    return table
  }
}
