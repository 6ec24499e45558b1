import ArgumentParser
import CRIClient
import CRIModel
import JSON
import Kernel

extension ImageCommand {
  struct List: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "ls", abstract: "List images.",
      discussion: """
        EXAMPLES
          martlet image ls
          martlet image ls -o json
        """)

    @Flag(name: [.short, .long], help: "Only ids, one a line.")
    var quiet = false

    @OptionGroup var outputOptions: OutputOptions
    @OptionGroup var connection: ConnectionOptions

    func run() async throws {
      let images = try await connection.withClient { client in
        try await client.listImages().sorted { ($0.repoTags.first ?? "~", $0.id) < ($1.repoTags.first ?? "~", $1.id) }
      }
      if quiet {
        for image in images { try Console.line(image.id) }
        return
      }
      let format = outputOptions.format()
      if format != .table { return try Console.value(.array(try images.map { try Messages.value($0) }), as: format) }
      try Console.out(Self.table(images).text(Style(enabled: outputOptions.styled(.output))))
    }

    /// A line for each name; images without a name are at the end.
    static func table(_ images: [CRIImage]) -> Table {
      var table = Table(["IMAGE", "ID", "SIZE"])
      for image in images {
        for name in names(of: image) {
          table.rows.append([
            Table.Cell(name), Table.Cell(Units.shortID(image.id)),
            Table.Cell(Units.bytes(image.size) + (image.pinned ? " pinned" : "")),
          ])
        }
      }
      return table
    }

    /// Its tags; without any, the repository that it came from.
    private static func names(of image: CRIImage) -> [String] {
      if !image.repoTags.isEmpty { return image.repoTags }
      guard let digest = image.repoDigests.first else { return ["<none>"] }
      return ["\(digest.prefix { $0 != "@" }):<none>"]
    }
  }

  struct Inspect: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "inspect", abstract: "Show everything about images.",
      discussion: """
        EXAMPLES
          martlet image inspect nginx:1.27
        """)

    @Argument(help: "References or ids of images.")
    var images: [String]

    @OptionGroup var outputOptions: OutputOptions
    @OptionGroup var connection: ConnectionOptions

    func run() async throws {
      let values = try await connection.withClient { client in
        var values: [JSONValue] = []
        for image in images { values.append(try await ImageCommand.inspect(image, client)) }
        return values
      }
      try Console.value(values.count == 1 ? values[0] : .array(values), as: outputOptions.format(default: .json))
    }
  }

  struct Remove: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "rm", abstract: "Remove images.",
      discussion: """
        An image that a container uses stays; remove the container first.

        EXAMPLES
          martlet image rm nginx:1.27
        """)

    @Argument(help: "References or ids of images.")
    var images: [String]

    @OptionGroup var connection: ConnectionOptions

    func run() async throws {
      try await connection.withClient { client in
        for image in images {
          let reference = try await ImageCommand.resolve(image, client)
          // CRI takes the removal of nothing for a success; a person has mistyped.
          guard try await client.imageStatus(reference).hasImage else {
            throw Failure("no image \(image)", hint: "see what is there: martlet image ls", code: Failure.notFoundCode)
          }
          try await client.removeImage(reference)
          try Console.line(image)
        }
      }
    }
  }

  struct Prune: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "prune", abstract: "Remove images that nothing uses.",
      discussion: """
        Without --all, images that have a name stay.

        EXAMPLES
          martlet image prune
          martlet image prune --all
        """)

    @Flag(name: [.short, .long], help: "Also images that have a name, where no container uses them.")
    var all = false

    @OptionGroup var outputOptions: OutputOptions
    @OptionGroup var connection: ConnectionOptions

    func run() async throws {
      let response = try await connection.withClient { client in try await client.pruneImages(all: all) }
      let format = outputOptions.format()
      if format != .table { return try Console.value(try Messages.value(response), as: format) }
      for id in response.removedImageIds { try Console.line(id) }
      Console.note("\(response.removedImageIds.count) images, \(Units.bytes(response.freedBytes)) freed")
    }
  }
}
