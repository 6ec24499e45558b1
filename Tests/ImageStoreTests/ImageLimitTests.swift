import ImageStore
import JSON
import Kernel
import OCISpec
import TestSupport
import Testing

/// Images that are too much of something are refused by what they declare, before any of it is fetched.
@Suite struct ImageLimitTests {
  private func image(layers: Int, configBytes: Int64?) async throws -> TestImage {
    var image = try await TestImage(layers: [])
    let layer = Descriptor(mediaType: MediaType.ociLayer, digest: digest([1]), size: 1)
    let manifest = ImageManifest(
      config: Descriptor(
        mediaType: MediaType.ociConfig, digest: image.id, size: configBytes ?? Int64(image.config.count)),
      layers: [Descriptor](repeating: layer, count: layers))
    image.manifest = manifest.json.encoded()
    image.manifestDescriptor = Descriptor(
      mediaType: MediaType.ociManifest, digest: digest(image.manifest), size: Int64(image.manifest.count))
    return image
  }

  private func refusal(_ source: MemorySource) async throws -> String {
    let it = try await StoreFixture()
    var said = ""
    do {
      _ = try await it.store.pull(reference, from: source.source)
      Issue.record("it was pulled")
    } catch {
      said = "\(error)"
    }
    #expect(try it.contents() == [])
    try await it.close()
    return said
  }

  @Test func tenThousandLayersAreRefusedBeforeOneIsFetched() async throws {
    let image = try await image(layers: 10_000, configBytes: nil)
    let source = MemorySource(image)
    let said = try await refusal(source)
    #expect(said.contains("has 10000 layers, at most 500 can be stacked"), "\(said)")
    #expect(source.fetches(image.id) == 0 && source.fetches(digest([1])) == 0)
  }

  @Test func aConfigurationThatDeclaresAHundredMegabytesIsNotFetched() async throws {
    let image = try await image(layers: 0, configBytes: 100 << 20)
    let source = MemorySource(image)
    let said = try await refusal(source)
    #expect(said.contains("declares 104857600 bytes, at most 8388608 are read"), "\(said)")
    #expect(source.fetches(image.id) == 0)
  }

  /// More than was declared is not kept, and not read to its end.
  @Test func aConfigurationThatIsLongerThanItSaysIsCutOff() async throws {
    let image = try await image(layers: 0, configBytes: nil)
    let source = MemorySource(image)
    source.configure { $0.instead[image.id] = [UInt8](repeating: 0x20, count: 100 << 20) }
    let said = try await refusal(source)
    #expect(said.contains("\(image.id)") && said.contains("\(image.config.count)"), "\(said)")
  }

  @Test func aConfigurationOfTenThousandLayersIsRefused() async throws {
    let ids = JSONValue.array((0..<10_000).map { _ in .string(digest([1]).description) })
    let config: JSONValue = [
      "os": "linux", "architecture": .string(Platform.host.architecture), "config": [:],
      "rootfs": ["type": "layers", "diff_ids": ids],
    ]
    #expect { try ImageConfig(parsing: config.encoded(), in: "test") } throws: {
      "\($0)".contains("has 10000 layers, at most 500 can be stacked")
    }
  }
}
