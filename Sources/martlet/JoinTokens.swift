import ArgumentParser
import JSON
import Kernel
import KubeClient
import KubeModel
import PKI

/// `martlet token`: bootstrap tokens, by which machines join.
struct TokenCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "token", abstract: "Make, list and remove the tokens by which machines join the cluster.",
    subcommands: [TokenCreateCommand.self, TokenListCommand.self, TokenDeleteCommand.self])
}

/// Where the cluster is whose tokens are meant.
struct TokenPlace: ParsableArguments {
  @Option(help: ArgumentHelp("The administrator's; ROOT/server/admin.kubeconfig without.", valueName: "file"))
  var kubeconfig: String?

  @Option(help: ArgumentHelp("The server's.", valueName: "directory"))
  var root = "/var/lib/martlet"

  func open() throws -> (client: KubeClient, configuration: Kubeconfig) {
    let path = try Place.absolute(
      kubeconfig ?? environmentVariable("KUBECONFIG") ?? "\(try Place.absolute(root))/server/admin.kubeconfig")
    do throws(KubeError) {
      let configuration = try Kubeconfig.load(path: path)
      return (KubeClient(transport: try .kubeconfig(configuration), userAgent: "martlet-token"), configuration)
    } catch {
      throw Failure("\(error)", hint: "does martlet server run here? else give --kubeconfig")
    }
  }

  @discardableResult
  static func run<R>(_ body: () async throws -> R) async throws -> R {
    do {
      return try await body()
    } catch let error as KubeError {
      throw Failure("token: \(error)")
    }
  }

  static let namespace = "kube-system"
  static let prefix = "bootstrap-token-"
  static let type = "bootstrap.kubernetes.io/token"
}

struct TokenCreateCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "create", abstract: "Make a token, and print the command by which a machine joins.")

  @OptionGroup var place: TokenPlace

  @Option(help: ArgumentHelp("Hours until it counts no more; 0 for never.", valueName: "hours"))
  var ttl = 24

  @Option(help: "What it is for.")
  var description: String?

  func validate() throws {
    guard (0...87_600).contains(ttl) else { throw ValidationError("--ttl \(ttl): 0 to 87600 hours") }
  }

  func run() async throws {
    let (client, configuration) = try place.open()
    guard case .bytes(let authority)? = configuration.certificateAuthority else {
      throw Failure("the kubeconfig holds no authority to name", hint: "give the administrator's: --kubeconfig")
    }
    let (id, secret) = (randomHex(bytes: 3), randomHex(bytes: 8))
    var data = [
      "token-id": id, "token-secret": secret, "usage-bootstrap-authentication": "true",
    ]
    if ttl > 0 {
      let end = SystemClock.wallNanoseconds / 1_000_000_000 + Int64(ttl) * 3600
      data["expiration"] = RFC3339.text(seconds: end)
    }
    if let description { data["description"] = description }
    let object: JSONValue = [
      "apiVersion": "v1", "kind": "Secret",
      "metadata": ["name": .string(TokenPlace.prefix + id), "namespace": .string(TokenPlace.namespace)],
      "type": .string(TokenPlace.type), "stringData": JSONValue(data),
    ]
    try await TokenPlace.run {
      _ = try await client.raw(
        KubeRequest(.post, "/api/v1/namespaces/\(TokenPlace.namespace)/secrets", body: object.encoded()))
    }
    let pin: String
    do throws(PKIError) {
      pin = try AuthorityPin.pin(ofAuthority: authority)
    } catch {
      throw Failure("token: \(error)")
    }
    let server = await Self.reachable(configuration.server, client)
    try Console.out("martlet join \(server) --token \(id).\(secret) --ca-hash \(pin)\n")
  }
}

extension TokenCreateCommand {
  /// Where other machines reach the API: what it says of itself, where the kubeconfig's way is this machine's own.
  fileprivate static func reachable(_ server: String, _ client: KubeClient) async -> String {
    guard ["https://127.", "https://[::1]", "https://localhost"].contains(where: { server.hasPrefix($0) }) else {
      return server
    }
    do throws(KubeError) {
      let slice = try await client.get(EndpointSlice.self, name: "kubernetes", namespace: "default")
      guard let address = slice.endpoints.first?.addresses.first, let port = slice.ports.first?.port else {
        return server
      }
      return "https://\(address.contains(":") ? "[\(address)]" : address):\(port)"
    } catch {
      Console.error("where others reach the API is not known: \(error)")
      return server
    }
  }
}

struct TokenListCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "list", abstract: "List the tokens; their secrets are not shown.")

  @OptionGroup var place: TokenPlace

  func run() async throws {
    let (client, _) = try place.open()
    let secrets = try await TokenPlace.run {
      try await client.listAll(
        Secret.self, namespace: TokenPlace.namespace, ListOptions(fieldSelector: "type=\(TokenPlace.type)")
      ).items
    }
    var lines = ["ID      EXPIRES               DESCRIPTION"]
    for secret in secrets {
      func text(_ key: String) -> String { String(decoding: secret.data[key]?.bytes ?? [], as: UTF8.self) }
      let end = text("expiration").isEmpty ? "never" : text("expiration")
      let padding = String(repeating: " ", count: max(1, 22 - end.count))
      lines.append("\(text("token-id"))  \(end)\(padding)\(text("description"))")
    }
    try Console.out(lines.joined(separator: "\n") + "\n")
  }
}

struct TokenDeleteCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "delete", abstract: "Remove a token: who joined by it stays.")

  @OptionGroup var place: TokenPlace

  @Argument(help: "The token, or its first part.")
  var token: String

  func run() async throws {
    let (client, _) = try place.open()
    let id = String(token.prefix { $0 != "." })
    guard id.utf8.count == 6, id.utf8.allSatisfy({ (0x30...0x39).contains($0) || (0x61...0x7A).contains($0) }) else {
      throw Failure("\"\(token)\" is no token such as 07401b or 07401b.f395accd246ae52d", code: Failure.usageCode)
    }
    try await TokenPlace.run {
      try await client.delete(Secret.self, name: TokenPlace.prefix + id, namespace: TokenPlace.namespace)
    }
  }
}
