// Tests the TensorRT adapter through its public interface, as TensorRT uses it; the kernel runs on host memory.
#include <NvInfer.h>
#include <dlfcn.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <set>

#include "guarded_buffer.h"
#include "host_kernel.h"
#include "library.h"

namespace rectexport::testing {
namespace {

using namespace nvinfer1;

using Plugin = std::unique_ptr<IPluginV3>;
using Ints = std::vector<std::int32_t>;

// Stores what is logged.
class Log final : public ILogger, public ILoggerFinder {
public:
    void log(Severity severity, const char* message) noexcept override {
        EXPECT_EQ(severity, Severity::kERROR);
        text += message;
    }

    ILogger* findLogger() override { return this; }

    std::string text;
};

// An ONNX node's attributes, as fields.
struct Node {
    std::map<std::string, Ints> ints{{"kernel_shape", {3, 3}}, {"strides", {1, 1}}, {"pads", {1, 1, 1, 1}},
                                     {"dilations", {1, 1}},    {"numerator", {9}},  {"empty_bias", {1}},
                                     {"biased", {0}}};

    std::vector<PluginField> fields() const {
        std::vector<PluginField> all;
        for (const auto& [name, values] : ints) {
            const auto length = static_cast<std::int32_t>(values.size());
            all.emplace_back(name.c_str(), values.data(), PluginFieldType::kINT32, length);
        }
        return all;
    }
};

std::vector<IPluginCreatorV3One*> creators() {
    std::int32_t count = 0;
    IPluginCreatorInterface* const* found = getCreators(count);
    std::vector<IPluginCreatorV3One*> all;
    std::for_each(found, found + count, [&](auto* one) { all.push_back(static_cast<IPluginCreatorV3One*>(one)); });
    return all;
}

Plugin create(const std::vector<PluginField>& fields, TensorRTPhase phase = TensorRTPhase::kBUILD) {
    const PluginFieldCollection collection{static_cast<std::int32_t>(fields.size()), fields.data()};
    return Plugin(creators().front()->createPlugin("node", &collection, phase));
}

Plugin create(const Node& node = {}) { return create(node.fields()); }

template <class Capability>
Capability& as(IPluginV3& plugin, PluginCapabilityType type) {
    return *static_cast<Capability*>(plugin.getCapabilityInterface(type));
}

IPluginV3OneCore& core(IPluginV3& plugin) { return as<IPluginV3OneCore>(plugin, PluginCapabilityType::kCORE); }

IPluginV3OneBuildV2& build(IPluginV3& plugin) { return as<IPluginV3OneBuildV2>(plugin, PluginCapabilityType::kBUILD); }

IPluginV3OneRuntime& runtime(IPluginV3& plugin) {
    return as<IPluginV3OneRuntime>(plugin, PluginCapabilityType::kRUNTIME);
}

Dims dims(const std::vector<std::int64_t>& sizes) {
    Dims all{};
    all.nbDims = static_cast<std::int32_t>(sizes.size());
    for (std::size_t i = 0; i < sizes.size(); ++i) {
        all.d[i] = static_cast<std::remove_reference_t<decltype(all.d[0])>>(sizes[i]);
    }
    return all;
}

PluginTensorDesc tensor(const std::vector<std::int64_t>& sizes,
                        DataType type = DataType::kFLOAT,
                        TensorFormat format = TensorFormat::kLINEAR) {
    return {dims(sizes), type, format, 1.0F};
}

class PluginTest : public ::testing::Test {
protected:
    void SetUp() override {
        host_kernel = {};
        setLoggerFinder(&log);
    }

    void TearDown() override { setLoggerFinder(nullptr); }

    // Whether the logged message contains every part. Clears the log.
    ::testing::AssertionResult said(const std::vector<std::string>& parts) {
        const std::string text = std::exchange(log.text, "");
        for (const std::string& part : parts) {
            if (text.find(part) == std::string::npos) {
                return ::testing::AssertionFailure() << "'" << part << "' is not in '" << text << "'";
            }
        }
        return ::testing::AssertionSuccess();
    }

    Log log;
};

using CreatorTest = PluginTest;
using AttributeTest = PluginTest;
using BuildTest = PluginTest;
using RunTest = PluginTest;

TEST_F(CreatorTest, ThereIsOneInTheDialectsDomainAndOneWithoutNamespace) {
    std::set<std::string> namespaces;
    for (IPluginCreatorV3One* creator : creators()) {
        EXPECT_STREQ(creator->getPluginName(), "Rectify");
        EXPECT_STREQ(creator->getPluginVersion(), "1");
        EXPECT_STREQ(creator->getInterfaceInfo().kind, "PLUGIN CREATOR_V3ONE");
        namespaces.insert(creator->getPluginNamespace());
    }
    EXPECT_EQ(namespaces, (std::set<std::string>{"", "rectexport"}));
}

TEST_F(CreatorTest, NameTheDialectsAttributes) {
    for (IPluginCreatorV3One* creator : creators()) {
        const PluginFieldCollection* fields = creator->getFieldNames();
        std::set<std::string> names;
        std::for_each(fields->fields, fields->fields + fields->nbFields, [&](auto& field) {
            EXPECT_EQ(field.type, PluginFieldType::kINT32);
            names.insert(field.name);
        });
        std::set<std::string> expected;
        for (const auto& [name, values] : Node{}.ints) {
            expected.insert(name);
        }
        EXPECT_EQ(names, expected);
    }
}

TEST_F(CreatorTest, PluginsHaveTheirCreatorsName) {
    for (IPluginCreatorV3One* creator : creators()) {
        const Node node;
        const auto fields = node.fields();
        const PluginFieldCollection collection{static_cast<std::int32_t>(fields.size()), fields.data()};
        const Plugin plugin(creator->createPlugin("node", &collection, TensorRTPhase::kBUILD));
        EXPECT_STREQ(core(*plugin).getPluginName(), creator->getPluginName());
        EXPECT_STREQ(core(*plugin).getPluginVersion(), creator->getPluginVersion());
        EXPECT_STREQ(core(*plugin).getPluginNamespace(), creator->getPluginNamespace());
    }
}

TEST_F(CreatorTest, PluginsHaveTheInterfacesOfTensorRT10Point3) {
    const Plugin plugin = create();
    const auto check = [](const InterfaceInfo& info, const char* kind, int major) {
        EXPECT_STREQ(info.kind, kind);
        EXPECT_EQ(info.major, major);
        EXPECT_EQ(info.minor, 0);
    };
    check(plugin->getInterfaceInfo(), "PLUGIN", 1);
    check(core(*plugin).getInterfaceInfo(), "PLUGIN_V3ONE_CORE", 1);
    check(build(*plugin).getInterfaceInfo(), "PLUGIN_V3ONE_BUILD", 2);
    check(runtime(*plugin).getInterfaceInfo(), "PLUGIN_V3ONE_RUNTIME", 1);
}

TEST_F(AttributeTest, AreAcceptedInAnyOrderAnd32Or64Bits) {
    Node node;
    node.ints["pads"] = {3, 0, 2, 1};
    auto fields = node.fields();
    std::reverse(fields.begin(), fields.end());
    const std::vector<std::int64_t> wide{7, 5};
    for (PluginField& field : fields) {
        if (field.name == std::string("kernel_shape")) {
            field = PluginField("kernel_shape", wide.data(), PluginFieldType::kINT64, 2);
        }
    }
    const float unknown = 1;
    fields.emplace_back("unknown", &unknown, PluginFieldType::kFLOAT32, 1);
    const Plugin plugin = create(fields);
    ASSERT_NE(plugin, nullptr);
    EXPECT_STREQ(build(*plugin).getMetadataString(),
                 "kernel_shape=7,5 strides=1,1 pads=3,0,2,1 dilations=1,1 numerator=9 empty_bias=1 biased=0");
    EXPECT_STREQ(build(*plugin).getTimingCacheID(), build(*plugin).getMetadataString());
}

TEST_F(AttributeTest, AreAllRequiredButBiased) {
    for (const auto& [name, values] : Node{}.ints) {
        Node node;
        node.ints.erase(name);
        if (name == "biased") {
            const Plugin plugin = create(node);
            ASSERT_NE(plugin, nullptr);
            EXPECT_NE(std::string(build(*plugin).getMetadataString()).find("biased=0"), std::string::npos);
            continue;
        }
        EXPECT_EQ(create(node), nullptr);
        EXPECT_TRUE(said({"node", name, "expected"}));
    }
}

TEST_F(AttributeTest, OfAWrongLengthAreRefused) {
    for (const auto& [name, values] : Node{}.ints) {
        for (const std::size_t length : {std::size_t{0}, values.size() + 1}) {
            Node node;
            node.ints[name].resize(length, 1);
            EXPECT_EQ(create(node), nullptr);
            EXPECT_TRUE(said({name, "expected " + std::to_string(values.size()) + " integers"}));
        }
    }
}

TEST_F(AttributeTest, OutOfRangeAreRefused) {
    const std::map<std::string, std::int32_t> bad{{"kernel_shape", 0}, {"strides", 0},    {"pads", -1},
                                                  {"dilations", -2},   {"numerator", -1}, {"empty_bias", 2},
                                                  {"biased", 2}};
    for (const auto& [name, value] : bad) {
        Node node;
        node.ints[name].back() = value;
        EXPECT_EQ(create(node), nullptr);
        EXPECT_TRUE(said({name, "got " + std::to_string(value)}));
    }
}

TEST_F(AttributeTest, OfAWrongKindAreRefused) {
    const Node node;
    auto fields = node.fields();
    fields.front().type = PluginFieldType::kFLOAT32;
    EXPECT_EQ(create(fields), nullptr);
    EXPECT_TRUE(said({"expected integers"}));
    EXPECT_EQ(creators().front()->createPlugin("node", nullptr, TensorRTPhase::kBUILD), nullptr);
    EXPECT_TRUE(said({"null pointer"}));
}

TEST_F(AttributeTest, SurviveSerialization) {
    Node node;
    node.ints["pads"] = {3, 0, 2, 1};
    node.ints["empty_bias"] = {0};
    Plugin plugin = create(node);
    const PluginFieldCollection* kept = runtime(*plugin).getFieldsToSerialize();
    Node read;  // copies, as in an engine: the plugin that returned them is deleted before they are read
    read.ints.clear();
    std::for_each(kept->fields, kept->fields + kept->nbFields, [&](const PluginField& field) {
        ASSERT_EQ(field.type, PluginFieldType::kINT32);
        const auto* values = static_cast<const std::int32_t*>(field.data);
        read.ints[field.name] = Ints(values, values + field.length);
    });
    const std::string before = build(*plugin).getMetadataString();
    plugin.reset();
    EXPECT_EQ(read.ints, node.ints);
    const Plugin again = create(read.fields(), TensorRTPhase::kRUNTIME);
    ASSERT_NE(again, nullptr);
    EXPECT_EQ(build(*again).getMetadataString(), before);
}

TEST_F(AttributeTest, SurviveCloning) {
    Node node;
    node.ints["dilations"] = {2, 3};
    Plugin plugin = create(node);
    const std::string before = build(*plugin).getMetadataString();
    const Plugin clone(plugin->clone());
    const Plugin attached(runtime(*plugin).attachToContext(nullptr));
    plugin.reset();
    EXPECT_EQ(build(*clone).getMetadataString(), before);
    EXPECT_EQ(build(*attached).getMetadataString(), before);
    EXPECT_EQ(static_cast<const std::int32_t*>(runtime(*clone).getFieldsToSerialize()->fields[3].data)[1], 3);
}

struct Expression final : IDimensionExpr {};
struct Builder final : IExprBuilder {};

TEST_F(BuildTest, TheOutputHasTheShapeAndTypeOfY) {
    const Plugin plugin = create();
    Expression batch, channels, height, width;
    DimsExprs y{};
    y.nbDims = 4;
    y.d[0] = &batch;
    y.d[1] = &channels;
    y.d[2] = &height;
    y.d[3] = &width;
    for (const std::int32_t inputs : {2, 3}) {
        const std::vector<DimsExprs> all(static_cast<std::size_t>(inputs), y);
        DimsExprs z{};
        Builder builder;
        ASSERT_EQ(build(*plugin).getOutputShapes(all.data(), inputs, nullptr, 0, &z, 1, builder), 0);
        EXPECT_EQ(z.nbDims, 4);
        EXPECT_TRUE(std::equal(y.d, y.d + 4, z.d));
        for (const DataType type : {DataType::kFLOAT, DataType::kHALF, DataType::kBF16}) {
            const std::vector<DataType> types(static_cast<std::size_t>(inputs), type);
            DataType output{};
            ASSERT_EQ(build(*plugin).getOutputDataTypes(&output, 1, types.data(), inputs), 0);
            EXPECT_EQ(output, type);
        }
    }
    EXPECT_EQ(build(*plugin).getNbOutputs(), 1);
}

TEST_F(BuildTest, WrongCountsAndRanksAreRefused) {
    const Plugin plugin = create();
    Expression size;
    DimsExprs flat{};
    flat.nbDims = 3;
    flat.d[0] = flat.d[1] = flat.d[2] = &size;
    const std::vector<DimsExprs> inputs(4, flat);
    DimsExprs z{};
    Builder builder;
    EXPECT_NE(build(*plugin).getOutputShapes(inputs.data(), 2, nullptr, 0, &z, 1, builder), 0);
    EXPECT_TRUE(said({"rank 4"}));
    EXPECT_NE(build(*plugin).getOutputShapes(inputs.data(), 1, nullptr, 0, &z, 1, builder), 0);
    EXPECT_TRUE(said({"got 1 inputs"}));
    EXPECT_NE(build(*plugin).getOutputShapes(inputs.data(), 4, nullptr, 0, &z, 1, builder), 0);
    EXPECT_TRUE(said({"got 4 inputs"}));
    DataType types[2] = {};
    EXPECT_NE(build(*plugin).getOutputDataTypes(types, 2, types, 2), 0);
    EXPECT_TRUE(said({"2 outputs"}));
}

TEST_F(BuildTest, OnlyTheKernelsFormatsAreSupported) {
    const Plugin plugin = create();
    const std::set<std::pair<DataType, TensorFormat>> good{
        {DataType::kFLOAT, TensorFormat::kLINEAR}, {DataType::kFLOAT, TensorFormat::kHWC},
        {DataType::kHALF, TensorFormat::kLINEAR},  {DataType::kHALF, TensorFormat::kHWC8},
        {DataType::kBF16, TensorFormat::kLINEAR},  {DataType::kBF16, TensorFormat::kHWC8}};
    for (std::int32_t type = 0; type < EnumMax<DataType>(); ++type) {
        for (std::int32_t format = 0; format < EnumMax<TensorFormat>(); ++format) {
            const std::pair<DataType, TensorFormat> pair{static_cast<DataType>(type),
                                                         static_cast<TensorFormat>(format)};
            DynamicPluginTensorDesc y{};
            y.desc = tensor({-1, 8, -1, -1}, pair.first, pair.second);
            EXPECT_EQ(build(*plugin).supportsFormatCombination(0, &y, 2, 1), good.count(pair) == 1)
                << "type " << type << " format " << format;
        }
    }
}

TEST_F(BuildTest, HwcIsOfferedOnlyWhereChannelsFillTheVectors) {
    const Plugin plugin = create();
    const std::vector<std::pair<std::int64_t, bool>> channels{
        {4, true}, {6, false}, {7, false}, {64, true}, {-1, true}};
    for (const auto& [count, good] : channels) {
        DynamicPluginTensorDesc y{};
        y.desc = tensor({-1, count, -1, -1}, DataType::kFLOAT, TensorFormat::kHWC);
        EXPECT_EQ(build(*plugin).supportsFormatCombination(0, &y, 2, 1), good) << count << " channels";
        y.desc.format = TensorFormat::kLINEAR;
        EXPECT_TRUE(build(*plugin).supportsFormatCombination(0, &y, 2, 1)) << count << " channels";
    }
}

TEST_F(BuildTest, OutputMatchesYBiasMatchesItsTypeAndXMayBeAnything) {
    const Plugin plugin = create();
    std::vector<DynamicPluginTensorDesc> all(4);
    all[0].desc = all[3].desc = tensor({-1, 8, -1, -1}, DataType::kHALF, TensorFormat::kHWC8);
    all[1].desc = tensor({-1, 3, -1, -1}, DataType::kINT8, TensorFormat::kCHW32);
    all[2].desc = tensor({8}, DataType::kHALF);
    const auto supported = [&](std::int32_t position) {
        return build(*plugin).supportsFormatCombination(position, all.data(), 3, 1);
    };
    for (const std::int32_t position : {0, 1, 2, 3}) {
        EXPECT_TRUE(supported(position)) << position;
    }
    all[2].desc.type = DataType::kFLOAT;
    EXPECT_FALSE(supported(2));
    all[2].desc = tensor({8}, DataType::kHALF, TensorFormat::kHWC8);
    EXPECT_FALSE(supported(2));
    all[3].desc.format = TensorFormat::kLINEAR;
    EXPECT_FALSE(supported(3));
    all[3].desc = tensor({-1, 8, -1, -1}, DataType::kBF16, TensorFormat::kHWC8);
    EXPECT_FALSE(supported(3));
    // With two inputs the output is at 2.
    all[2].desc = all[0].desc;
    EXPECT_TRUE(build(*plugin).supportsFormatCombination(2, all.data(), 2, 1));
}

TEST_F(BuildTest, TheOutputAliasesY) {
    const Plugin plugin = create();
    EXPECT_EQ(build(*plugin).getAliasedInput(0), 0);
    EXPECT_EQ(build(*plugin).getAliasedInput(1), -1);
    EXPECT_EQ(build(*plugin).getWorkspaceSize(nullptr, 3, nullptr, 1), 0U);
}

TEST_F(BuildTest, DynamicShapesAreAcceptedAndContradictionsRefused) {
    const Plugin plugin = create();
    std::vector<DynamicPluginTensorDesc> inputs(3);
    const auto configured = [&](const std::vector<std::int64_t>& y, const std::vector<std::int64_t>& x,
                                const std::vector<std::int64_t>& bias) {
        inputs[0].desc = tensor(y);
        inputs[1].desc = tensor(x);
        inputs[2].desc = tensor(bias);
        return build(*plugin).configurePlugin(inputs.data(), 3, &inputs[0], 1) == 0;
    };
    EXPECT_TRUE(configured({-1, 8, -1, -1}, {-1, 3, -1, -1}, {8}));
    EXPECT_TRUE(configured({2, 8, 9, 9}, {-1, 3, 9, 9}, {-1}));
    EXPECT_FALSE(configured({-1, 8, -1, -1}, {-1, 3, -1, -1}, {7}));
    EXPECT_TRUE(said({"bias", "[-1, 8, -1, -1]", "[7]"}));
    EXPECT_FALSE(configured({2, 8, 9, 9}, {3, 3, 9, 9}, {8}));
    EXPECT_TRUE(said({"batches"}));
    EXPECT_FALSE(configured({2, 8, 9}, {2, 3, 9, 9}, {8}));
    EXPECT_TRUE(said({"y", "rank 4", "[2, 8, 9]"}));
    EXPECT_FALSE(configured({2, 8, 9, 9}, {2, 3, 9, 9}, {8, 1}));
    EXPECT_TRUE(said({"bias", "rank 1"}));
}

TEST_F(RunTest, ShapesThatTheConvolutionCannotProduceAreRefused) {
    const Plugin plugin = create();
    const std::vector<PluginTensorDesc> good{tensor({2, 8, 9, 7}), tensor({2, 3, 9, 7}), tensor({8})};
    EXPECT_EQ(runtime(*plugin).onShapeChange(good.data(), 3, good.data(), 1), 0);
    const std::vector<PluginTensorDesc> bad{tensor({2, 8, 9, 7}), tensor({2, 3, 10, 7})};
    EXPECT_NE(runtime(*plugin).onShapeChange(bad.data(), 2, bad.data(), 1), 0);
    EXPECT_TRUE(said({"height and width", "[2, 8, 9, 7]", "[2, 3, 10, 7]", "pads=1,1,1,1"}));
}

std::vector<PluginTensorDesc> descriptions(const TensorCase& c) {
    const RectifyParams& p = c.params;
    const DataType types[] = {DataType::kFLOAT, DataType::kHALF, DataType::kBF16};
    const TensorFormat formats[] = {TensorFormat::kLINEAR, TensorFormat::kHWC, TensorFormat::kHWC8};
    const DataType type = types[static_cast<int>(p.type)];
    std::vector<PluginTensorDesc> all{tensor({p.batch, p.channels, p.window.rows.out, p.window.columns.out}, type,
                                             formats[static_cast<int>(p.layout)]),
                                      tensor({p.batch, 1, p.window.rows.size, p.window.columns.size}, type)};
    if (!c.bias.empty()) {
        all.push_back(tensor({p.channels}, type));
    }
    return all;
}

Node node_of(const TensorCase& c) {
    const auto narrow = [](std::int64_t value) { return static_cast<std::int32_t>(value); };
    const Axis& h = c.params.window.rows;
    const Axis& w = c.params.window.columns;
    Node node;
    node.ints = {{"kernel_shape", {narrow(h.kernel), narrow(w.kernel)}},
                 {"strides", {narrow(h.stride), narrow(w.stride)}},
                 {"pads", {narrow(h.pad_before), narrow(w.pad_before), narrow(h.pad_after), narrow(w.pad_after)}},
                 {"dilations", {narrow(h.dilation), narrow(w.dilation)}},
                 {"numerator", {narrow(c.params.window.numerator)}},
                 {"empty_bias", {c.params.empty_bias ? 1 : 0}},
                 {"biased", {c.params.biased ? 1 : 0}}};
    return node;
}

bool offered(IPluginV3& plugin, const std::vector<PluginTensorDesc>& tensors) {
    DynamicPluginTensorDesc y{};
    y.desc = tensors.front();
    return build(plugin).supportsFormatCombination(0, &y, static_cast<std::int32_t>(tensors.size()), 1);
}

void check_enqueue(Tally& tally, const TensorCase& c, bool in_place) {
    const Plugin plugin = create(node_of(c));
    const auto tensors = descriptions(c);
    if (!offered(*plugin, tensors)) {
        return;
    }
    const auto count = static_cast<std::int32_t>(tensors.size());
    GuardedBuffer y(packed(c), 0);
    GuardedBuffer apart(Bytes(packed(c).size()), 0);
    const Bytes bias = packed_bias(c);
    const void* inputs[] = {y.data(), nullptr, bias.data()};  // x is never read
    void* outputs[] = {in_place ? y.data() : apart.data()};
    ASSERT_EQ(runtime(*plugin).onShapeChange(tensors.data(), count, tensors.data(), 1), 0);
    ASSERT_EQ(runtime(*plugin).enqueue(tensors.data(), tensors.data(), inputs, outputs, nullptr, nullptr), 0);
    compare(tally, c, static_cast<unsigned char*>(outputs[0]));
    tally.check(y.unharmed() && apart.unharmed(), "wrote outside the buffers: " + text_of(c));
}

TEST_F(RunTest, AgreesWithTheReferenceInPlaceAndInASeparateBuffer) {
    Tally tally;
    for (CaseFile file(std::string(RECTEXPORT_CASES) + "/tensors.bin"); !file.at_end();) {
        const TensorCase c = read_tensor(file);
        check_enqueue(tally, c, true);
        check_enqueue(tally, c, false);
    }
    EXPECT_EQ(tally.close("tensors through the adapter"), EXIT_SUCCESS);
    EXPECT_EQ(host_kernel.copies * 2, host_kernel.launches);
}

TEST_F(RunTest, AFailureReturnsAStatusAndLogsAMessage) {
    const Plugin plugin = create();
    const std::vector<PluginTensorDesc> tensors{tensor({1, 1, 3, 3}), tensor({1, 1, 3, 3})};
    std::vector<float> y(9);
    const void* inputs[] = {y.data(), nullptr};
    void* outputs[] = {y.data()};
    const auto run = [&] {
        return runtime(*plugin).enqueue(tensors.data(), tensors.data(), inputs, outputs, nullptr, nullptr);
    };
    EXPECT_NE(run(), 0);
    EXPECT_TRUE(said({"got 0 inputs"}));  // TensorRT announces shapes first
    ASSERT_EQ(runtime(*plugin).onShapeChange(tensors.data(), 2, tensors.data(), 1), 0);
    EXPECT_EQ(run(), 0);
    host_kernel.status = 100;
    EXPECT_NE(run(), 0);
    EXPECT_TRUE(said({"starting the kernel", "no device"}));
}

TEST_F(RunTest, ALoggerFinderThatThrowsDoesNotEndTheProgram) {
    struct Throwing final : ILoggerFinder {
        ILogger* findLogger() override { throw std::runtime_error("no logger"); }
    } finder;
    setLoggerFinder(&finder);
    ::testing::internal::CaptureStderr();
    EXPECT_EQ(create(std::vector<PluginField>{}), nullptr);
    EXPECT_NE(::testing::internal::GetCapturedStderr().find("kernel_shape"), std::string::npos);
}

#if defined(RECTEXPORT_LIBRARY)
// RTLD_NOW resolves every symbol: it fails if the library needs a symbol of TensorRT.
TEST(LibraryTest, LoadsWithoutTensorRTAndExportsItsTwoFunctions) {
    const std::unique_ptr<void, int (*)(void*)> library(dlopen(RECTEXPORT_LIBRARY, RTLD_NOW | RTLD_LOCAL), dlclose);
    ASSERT_NE(library, nullptr) << dlerror();
    ASSERT_NE(dlsym(library.get(), "setLoggerFinder"), nullptr);
    void* const symbol = dlsym(library.get(), "getCreators");
    ASSERT_NE(symbol, nullptr);
    std::int32_t count = 0;
    IPluginCreatorInterface* const* found = reinterpret_cast<decltype(&getCreators)>(symbol)(count);
    ASSERT_EQ(count, 2);
    EXPECT_STREQ(static_cast<IPluginCreatorV3One*>(found[0])->getPluginName(), "Rectify");
    EXPECT_EQ(dlsym(library.get(), "cudaLaunchKernel"), nullptr) << "the CUDA runtime is exported";
}
#endif

}  // namespace
}  // namespace rectexport::testing
