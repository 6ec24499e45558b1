import ArgumentParser
import CRIClient
import CRIModel
import JSON
import Kernel
import SwiftProtobuf

/// `martlet image`: the images on this node.
struct ImageCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "image",
    abstract: "Fetch, move and remove images.",
    subcommands: [Pull.self, Import.self, Export.self, List.self, Inspect.self, Remove.self, Prune.self])

  /// An image's status with the runtime's facts about it.
  static func inspect(_ word: String, _ client: CRIClient) async throws -> JSONValue {
    let response = try await client.imageStatus(try await resolve(word, client), verbose: true)
    guard response.hasImage else {
      throw Failure("no image \(word)", hint: "see what is there: martlet image ls", code: Failure.notFoundCode)
    }
    return ["image": try Messages.value(response.image), "info": Messages.info(response.info)]
  }

  /// A full id for the beginning of one; any other word as it is, for the daemon to understand.
  static func resolve(_ word: String, _ client: CRIClient) async throws -> String {
    let bare = word.hasPrefix("sha256:") ? String(word.dropFirst(7)) : word
    guard bare.count >= 4, bare.count < 64, bare.allSatisfy({ $0.isHexDigit && $0.isASCII }) else { return word }
    let ids = Set(try await client.listImages().map(\.id)).filter { id in
      id.hasPrefix(bare) || id.hasPrefix("sha256:\(bare)")
    }
    if ids.count > 1 {
      throw Failure("\(word) is the beginning of \(ids.count) image ids", hint: "give more of it")
    }
    return ids.first ?? word
  }

  /// An absolute path, for the daemon, which has another working directory.
  static func absolute(_ path: String) throws -> String {
    if path.hasPrefix("/") { return path }
    return "\(try Files.readLink("/proc/self/cwd"))/\(path)"
  }

  struct Pull: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "pull",
      abstract: "Fetch an image from a registry.",
      discussion: """
        Credentials come from the daemon's configuration, or from --username with the password on standard input.

        EXAMPLES
          martlet image pull nginx:1.27
          martlet image pull registry.example:5000/team/app@sha256:…
          martlet image pull --username me --password-stdin private.example/app < token
        """)

    @Option(help: ArgumentHelp("Another platform than this node's, as linux/arm64/v8.", valueName: "platform"))
    var platform: String?

    @Option(help: "The account at the registry.")
    var username: String?

    @Flag(name: .customLong("password-stdin"), help: "Read the password from standard input.")
    var passwordFromInput = false

    @Argument(help: "A reference such as nginx:1.27.")
    var image: String

    @OptionGroup var outputOptions: OutputOptions
    @OptionGroup var connection: ConnectionOptions

    func validate() throws {
      if (username != nil) != passwordFromInput { throw ValidationError("--username goes with --password-stdin") }
    }

    func run() async throws {
      let credential = try await credential()
      let request = MartletPullImageRequest.with {
        $0.reference = image
        if let platform { $0.platform = platform }
        if let credential { $0.credential = credential }
      }
      try await connection.withClient { client in
        let last = try await ProgressDisplay.show(outputOptions) { onProgress in
          try await client.pullImage(request, onProgress: onProgress)
        }
        try ImageCommand.printResult(last, outputOptions.format())
      }
    }

    private func credential() async throws -> MartletRegistryCredential? {
      guard let username else { return nil }
      let reader = try InterruptibleReader(.input)
      var password: [UInt8] = []
      while case let bytes = try await reader.read(upTo: 4096), !bytes.isEmpty {
        password += bytes
        if password.count > 1 << 16 { throw Failure("the password on standard input is longer than 64 KiB") }
      }
      let text = String(decoding: password, as: UTF8.self)
      return MartletRegistryCredential.with {
        $0.username = username
        $0.password = text.hasSuffix("\n") ? String(text.dropLast()) : text
      }
    }
  }

  struct Import: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "import",
      abstract: "Take images out of an archive on this node.",
      discussion: """
        Understands an OCI image layout (directory or tar) and what docker save writes. The daemon reads the file.

        EXAMPLES
          martlet image import app.tar
          martlet image import --reference example.org/app:1 layout/
        """)

    @Option(help: "A name for an archive that carries none.")
    var reference: String?

    @Argument(help: "The archive or layout directory.")
    var path: String

    @OptionGroup var outputOptions: OutputOptions
    @OptionGroup var connection: ConnectionOptions

    func run() async throws {
      let request = try MartletImportImageRequest.with {
        $0.path = try ImageCommand.absolute(path)
        if let reference { $0.reference = reference }
      }
      try await connection.withClient { client in
        let last = try await ProgressDisplay.show(outputOptions) { onProgress in
          try await client.importImage(request, onProgress: onProgress)
        }
        try ImageCommand.printResult(last, outputOptions.format())
      }
    }
  }

  struct Export: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "export",
      abstract: "Write images to an archive on this node.",
      discussion: """
        The archive is an OCI image layout in a tar; the daemon writes it, and nothing may be at the path yet.

        EXAMPLES
          martlet image export --to app.tar example.org/app:1
        """)

    @Option(help: ArgumentHelp("The tar to write.", valueName: "file"))
    var to: String

    @Argument(help: "References or ids of images.")
    var images: [String]

    @OptionGroup var outputOptions: OutputOptions
    @OptionGroup var connection: ConnectionOptions

    func run() async throws {
      let path = try ImageCommand.absolute(to)
      try await connection.withClient { client in
        var references: [String] = []
        for image in images { references.append(try await ImageCommand.resolve(image, client)) }
        let request = MartletExportImageRequest.with {
          $0.references = references
          $0.path = path
        }
        _ = try await ProgressDisplay.show(outputOptions) { onProgress in
          try await client.exportImages(request, onProgress: onProgress)
        }
        try Console.line(path)
      }
    }
  }

  /// Names and ids of images that are there now.
  static func printResult(_ last: MartletImageProgress, _ format: OutputOptions.Format) throws {
    if format != .table {
      return try Console.value(
        ["imageIDs": JSONValue(last.imageIds), "references": JSONValue(last.references)], as: format)
    }
    for name in last.references.isEmpty ? last.imageIds : last.references { try Console.line(name) }
  }
}
