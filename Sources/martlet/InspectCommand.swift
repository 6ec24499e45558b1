import ArgumentParser
import CRIClient
import CRIModel
import JSON
import Kernel

/// `martlet inspect`: everything the daemon knows of something.
struct InspectCommand: AsyncParsableCommand {
  enum Kind: String, ExpressibleByArgument, CaseIterable { case container, pod, image }

  static let configuration = CommandConfiguration(
    commandName: "inspect",
    abstract: "Show everything about containers, pods or images.",
    discussion: """
      EXAMPLES
        martlet inspect web               a pod or container, as JSON
        martlet inspect -o yaml web/app   the same as YAML
        martlet inspect --type image nginx:1.27
      """)

  @Option(help: "What the names mean; otherwise containers, pods and images are tried in this order.")
  var type: Kind?

  @Argument(help: "Containers, pods or images: names or beginnings of ids.")
  var targets: [String]

  @OptionGroup var outputOptions: OutputOptions
  @OptionGroup var connection: ConnectionOptions

  func run() async throws {
    let values = try await connection.withClient { client in
      let inventory = try await Inventory.load(client)
      var values: [JSONValue] = []
      for target in targets { values.append(try await Self.value(target, type, inventory, client)) }
      return values
    }
    let format = outputOptions.format(default: .json)
    try Console.value(values.count == 1 ? values[0] : .array(values), as: format)
  }

  private static func value(
    _ word: String, _ type: Kind?, _ inventory: Inventory, _ client: CRIClient
  ) async throws -> JSONValue {
    switch type {
    case .container: return try await container(try inventory.container(word).id, client)
    case .pod: return try await pod(try inventory.pod(word).id, client)
    case .image: return try await ImageCommand.inspect(word, client)
    case nil: break
    }
    do {
      switch try inventory.find(word) {
      case .pod(let found): return try await pod(found.id, client)
      case .container(let found): return try await container(found.id, client)
      }
    } catch let failure as Failure where failure.code == Failure.notFoundCode {
      do {
        return try await ImageCommand.inspect(word, client)
      } catch let other as Failure where other.code == Failure.notFoundCode {
        throw Failure(
          "no container, pod or image \(word)", hint: "see what is there: martlet ps -a, martlet image ls",
          code: Failure.notFoundCode)
      }
    }
  }

  static func pod(_ id: String, _ client: CRIClient) async throws -> JSONValue {
    let response = try await client.podSandboxStatus(id, verbose: true)
    let state: JSONValue = response.status.state == .sandboxReady ? "SANDBOX_READY" : "SANDBOX_NOTREADY"
    let status = try filled(Messages.value(response.status), ["state": state])
    return ["status": status, "info": Messages.info(response.info)]
  }

  /// Zero is left out of a message's JSON, and says something here.
  private static func filled(_ status: JSONValue, _ zeros: JSONObject) throws -> JSONValue {
    var status = status.object ?? JSONObject()
    for (key, value) in zeros.members where status[key] == nil { status[key] = value }
    return .object(status)
  }

  private static func container(_ id: String, _ client: CRIClient) async throws -> JSONValue {
    let response = try await client.containerStatus(id, verbose: true)
    var zeros: JSONObject = ["state": "CONTAINER_CREATED"]
    if response.status.state == .containerExited { zeros["exitCode"] = 0 }
    let status = try filled(Messages.value(response.status), zeros)
    return ["status": status, "info": Messages.info(response.info)]
  }
}
